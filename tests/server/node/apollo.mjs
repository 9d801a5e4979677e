// @apollo/client over HTTP, multipart subscriptions included: node apollo.mjs URL TOKEN SCENARIO
import { require, tell } from "./packages.mjs";

const { ApolloClient, HttpLink, InMemoryCache, gql } = require("@apollo/client");
const [uri, token, scenario] = process.argv.slice(2);

const client = new ApolloClient({
  link: new HttpLink({ uri, headers: { authorization: `Bearer ${token}` } }),
  cache: new InMemoryCache(),
});

function collect(query) {
  return new Promise((resolve) => {
    const got = [];
    client.subscribe({ query: gql(query), errorPolicy: "all" }).subscribe({
      next: (value) => got.push({ data: value.data, error: value.error?.errors?.[0]?.extensions }),
      error: (error) => resolve({ got, error: String(error) }),
      complete: () => resolve({ got }),
    });
  });
}

const scenarios = {
  query: async () => (await client.query({ query: gql("{ me hello }") })).data,
  stream: () => collect("subscription { ticks(to: 3) { seq text } }"),
  nothing: () => collect("subscription { nothing }"),
};

const result = await scenarios[scenario]();
client.stop();
tell({ result });
