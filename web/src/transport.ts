// How operations reach the server: queries and mutations by POST, subscriptions by WebSocket or by SSE.
import type { ExecutionResult } from "graphql";
import { createClient as createSse } from "graphql-sse";
import { createClient as createWs } from "graphql-ws";

import { token, transport } from "./settings";

const endpoint = new URL("/graphql", location.href).href;

export type Headers = Record<string, string>;
export interface Request {
  query: string;
  variables?: Record<string, unknown>;
  operationName?: string;
}
export interface Sink {
  next(result: ExecutionResult): void;
  error(error: Error): void;
  complete(): void;
}

// The headers of the tab's own editor go before the token box.
function signed(headers: Headers): Headers {
  const hasOwn = Object.keys(headers).some((name) => name.toLowerCase() === "authorization");
  return hasOwn || !token.get() ? headers : { ...headers, Authorization: `Bearer ${token.get()}` };
}

export async function post(request: Request, headers: Headers = {}): Promise<ExecutionResult> {
  const response = await fetch(endpoint, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      Accept: "application/graphql-response+json, application/json;q=0.9",
      ...signed(headers),
    },
    body: JSON.stringify(request),
  });
  const text = await response.text();
  try {
    return JSON.parse(text) as ExecutionResult;
  } catch {
    throw new Error(`The server answered ${response.status} ${response.statusText}: ${text.slice(0, 500)}`);
  }
}

// One client for each stream: a shared socket would keep the token that it was opened with.
function openWebSocket(request: Request, headers: Headers, sink: Sink): () => void {
  const client = createWs({
    url: endpoint.replace(/^http/, "ws"),
    connectionParams: signed(headers),
  });
  return client.subscribe(request, asSink(sink));
}

function openSse(request: Request, headers: Headers, sink: Sink): () => void {
  const client = createSse({ url: endpoint, headers: signed(headers) });
  return client.subscribe(request, asSink(sink));
}

// Both libraries say what went wrong in several shapes: errors of GraphQL, a CloseEvent, or an Error.
function asSink(sink: Sink) {
  return {
    next: (result: unknown) => sink.next(result as ExecutionResult),
    complete: () => sink.complete(),
    error(error: unknown) {
      if (Array.isArray(error)) {
        sink.next({ errors: error } as ExecutionResult);
        sink.complete();
      } else if (error instanceof CloseEvent) {
        sink.error(new Error(`The connection was closed: ${error.code} ${error.reason}`.trim()));
      } else {
        sink.error(error instanceof Error ? error : new Error(String(error)));
      }
    },
  };
}

/** Starts a subscription over the transport that is switched on; returns what ends it. */
export function stream(request: Request, headers: Headers, sink: Sink): () => void {
  return transport.get() === "sse" ? openSse(request, headers, sink) : openWebSocket(request, headers, sink);
}
