// The JavaScript of docs/jobs.md as it stands there: node guide.mjs HOST TOKEN JOB UUID WAY
import { readFileSync } from "node:fs";
import { require, tell } from "./packages.mjs";

const [host, token, jobId, uuid, way] = process.argv.slice(2);
const page = readFileSync(new URL("../../../docs/jobs.md", import.meta.url), "utf8");
const [sockets, events, follow, plain] = [...page.matchAll(/^```js\n(.*?)^```$/gms)].map((block) =>
  block[1].replaceAll("localhost:8000", host).replace(/^import .*$/m, ""),
);
const ways = {
  "graphql-ws": `${sockets} ${follow} return follow(jobId, tell);`,
  "graphql-sse": `${events} ${follow} return follow(jobId, tell);`,
  fetch: `${plain} return followByFetch(uuid, tell);`,
};
// Node has a WebSocket of its own since 22, as browsers do.
const { createClient } = way === "fetch" ? {} : require(way);
const names = ["createClient", "token", "jobId", "uuid", "tell"];
await new Function(...names, ways[way])(createClient, token, jobId, uuid, tell);
tell({ ended: true });
process.exit(0);
