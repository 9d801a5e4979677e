import { useGraphiQL, useGraphiQLActions } from "@graphiql/react";
import { useEffect, useState } from "react";

import icon from "./icon.svg";
import { token, transport, type Transport } from "./settings";
import { post } from "./transport";

const who = "query WhoAmI { viewer { user { name } roles } }";

interface WhoAmI {
  viewer?: { user?: { name: string } | null; roles?: string[] } | null;
}

type Identity = { label: string; state: "anonymous" | "known" | "refused" };
const anonymous: Identity = { label: "not signed in", state: "anonymous" };
const asking: Identity = { label: "…", state: "anonymous" };

// Asks the server who the token stands for, so that a wrong one is seen at once and not at the first query.
function useIdentity(value: string): Identity {
  const [identity, setIdentity] = useState<Identity>(anonymous);
  useEffect(() => {
    if (!value) {
      setIdentity(anonymous);
      return;
    }
    setIdentity(asking);
    let isCurrent = true;
    const show = (label: string, state: Identity["state"]) => isCurrent && setIdentity({ label, state });
    post({ query: who, operationName: "WhoAmI" }).then(
      ({ data, errors }) => {
        const viewer = (data as WhoAmI | null | undefined)?.viewer;
        if (viewer?.user) show([viewer.user.name, ...(viewer.roles ?? [])].join(" · "), "known");
        else show(errors?.[0]?.message ?? "token not accepted", "refused");
      },
      (error: unknown) => show(String(error), "refused"),
    );
    return () => {
      isCurrent = false;
    };
  }, [value]);
  return identity;
}

function TokenBox() {
  const value = token.use();
  const identity = useIdentity(value);
  const schema = useGraphiQL((state) => state.schema);
  const { introspect } = useGraphiQLActions();
  useEffect(() => {
    if (!schema && value) void introspect();
  }, [value]);
  return (
    <label className="hf-token">
      <input
        aria-label="Bearer token"
        aria-invalid={identity.state === "refused"}
        placeholder="Bearer token"
        autoComplete="off"
        spellCheck={false}
        value={value}
        onChange={(event) => token.set(event.target.value.trim().replace(/^bearer\s+/i, ""))}
      />
      <span className="hf-identity" data-state={identity.state} title={identity.label} role="status">
        {identity.label}
      </span>
    </label>
  );
}

function TransportSwitch() {
  const value = transport.use();
  return (
    <label title="How subscriptions reach the server">
      <select
        aria-label="Transport of subscriptions"
        value={value}
        onChange={(event) => transport.set(event.target.value as Transport)}
      >
        <option value="websocket">WebSocket</option>
        <option value="sse">SSE</option>
      </select>
    </label>
  );
}

export function TopBar() {
  return (
    <div className="hf-bar">
      <TransportSwitch />
      <TokenBox />
      <img src={icon} alt="Holdfast" width="24" height="24" />
    </div>
  );
}
