// All audits of npm graphql-http against a server: node audits.mjs URL
import { require, tell } from "./packages.mjs";

const { serverAudits } = require("graphql-http");

const found = [];
for (const audit of serverAudits({ url: process.argv[2] })) {
  const result = await audit.fn();
  found.push({ id: audit.id, name: audit.name, status: result.status, reason: result.reason });
}
tell(found);
