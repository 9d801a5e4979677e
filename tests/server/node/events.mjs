// npm graphql-sse in distinct mode: node events.mjs URL TOKEN SCENARIO
import { require, tell } from "./packages.mjs";

const { createClient } = require("graphql-sse");
const [url, token, scenario] = process.argv.slice(2);

let connects = 0;
const client = createClient({
  url,
  headers: { authorization: `Bearer ${scenario === "wrong token" ? "wrong" : token}` },
  retryAttempts: 2,
  retry: () => new Promise((resolve) => setTimeout(resolve, 20)),
  on: { connected: () => (connects += 1) },
});

function collect(query, until = Infinity) {
  return new Promise((resolve) => {
    const got = [];
    const stop = client.subscribe(
      { query },
      {
        next(value) {
          got.push(value);
          if (got.length >= until) {
            stop();
            resolve({ got });
          }
          if (scenario === "restart" && got.length === 1) tell({ waiting: true });
        },
        error: (error) => resolve({ got, error: String(error) }),
        complete: () => resolve({ got }),
      },
    );
  });
}

const scenarios = {
  stream: () => collect("subscription { ticks(to: 3) { seq text } }"),
  query: () => collect("{ me hello }"),
  invalid: () => collect("{ nope }"),
  "wrong token": () => collect("subscription { news }"),
  nothing: () => collect("subscription { nothing }"),
  early: () => collect("subscription { ticks(to: 1000000) { seq } }", 2),
  restart: () => collect("subscription { news }", 2),
};

const result = await scenarios[scenario]();
client.dispose();
tell({ result, connects });
