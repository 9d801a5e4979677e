// npm graphql-ws as a browser would use it: node sockets.mjs URL TOKEN SCENARIO
import { require, tell } from "./packages.mjs";

const { createClient } = require("graphql-ws");
const WebSocket = require("ws");
const [url, token, scenario] = process.argv.slice(2);

const closes = [];
let connects = 0;
const client = createClient({
  url,
  webSocketImpl: WebSocket,
  connectionParams: () => ({ token: scenario === "wrong token" ? "wrong" : token }),
  retryAttempts: 2,
  retryWait: () => new Promise((resolve) => setTimeout(resolve, 20)),
  on: { closed: (event) => closes.push(event.code), connected: () => (connects += 1) },
});

function collect(query, { variables, until = Infinity } = {}) {
  return new Promise((resolve) => {
    const got = [];
    const stop = client.subscribe(
      { query, variables },
      {
        next(value) {
          got.push(value);
          if (got.length >= until) {
            stop();
            resolve({ got });
          }
          if (scenario === "restart" && got.length === 1) tell({ waiting: true });
        },
        error: (error) => resolve({ got, error: error.code ? { code: error.code, reason: error.reason } : error }),
        complete: () => resolve({ got }),
      },
    );
  });
}

const scenarios = {
  stream: () => collect("subscription { ticks(to: 3) { seq text } }"),
  query: () => collect("{ me hello }"),
  mutation: () => collect('mutation { note(text: "from node") }'),
  invalid: () => collect("{ nope }"),
  "wrong token": () => collect("{ me }"),
  early: () => collect("subscription { ticks(to: 1000000) { seq } }", { until: 2 }),
  many: () => Promise.all([1, 2, 3].map((to) => collect("subscription($to: Int!) { ticks(to: $to) { seq } }", { variables: { to } }))),
  restart: () => collect("subscription { news }", { until: 2 }),
};

const result = await scenarios[scenario]();
await client.dispose();
tell({ result, closes, connects });
