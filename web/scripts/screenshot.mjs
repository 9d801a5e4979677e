// Takes the README's picture: GraphiQL after publishing a plan of the demo course, with the job's events.
// Needs `make up` running, and a chromium (CHROMIUM names one of one's own).
//     web/node web/scripts/screenshot.mjs [docs/images/graphiql.png]
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import readline from "node:readline";

const root = path.resolve(import.meta.dirname, "../..");
const file = path.resolve(process.argv[2] ?? path.join(root, "docs/images/graphiql.png"));
const data = process.env.HOLDFAST_DATA ?? path.join(root, ".holdfast");
const up = JSON.parse(readFileSync(path.join(data, "up.json"), "utf8"));

const driver = spawn(process.execPath, [path.join(root, "tests/server/browser/driver.mjs")], {
  env: { ...process.env, CHROMIUM: process.env.CHROMIUM ?? "/usr/bin/chromium" },
  stdio: ["pipe", "pipe", "inherit"],
});
const answers = readline.createInterface({ input: driver.stdout })[Symbol.asyncIterator]();

async function run(name, given = {}) {
  driver.stdin.write(`${JSON.stringify({ do: name, page: "one", ...given })}\n`);
  const { value, error } = JSON.parse((await answers.next()).value);
  if (error) throw new Error(error);
  return value;
}

async function operation(title, { variables, where }) {
  await run("tab", { title });
  if (variables) await run("write", { variables });
  await run("run");
  return (await run("result", { where })).data;
}

try {
  await run("open", { url: `${up.url}/graphiql` });
  await run("token", { token: up.tokens.teacher });
  const { viewer } = await operation("Viewer", { where: "it.data" });
  const plans = viewer.courses.flatMap((course) => course.plans.nodes);
  const plan = plans.find(({ state }) => state === "DRAFT") ?? plans.find(({ state }) => state === "PUBLISHED");
  const { publishPlan } = await operation("PublishPlan", { variables: { input: { planId: plan.id } }, where: "it.data" });
  if (!publishPlan.job) throw new Error(JSON.stringify(publishPlan.userErrors));
  await operation("JobProgress", {
    variables: { jobId: publishPlan.job.id, after: 0 },
    where: "it.data.jobProgress.status === 'COMPLETED'",
  });
  await run("screenshot", { file });
  console.log(file);
} finally {
  driver.stdin.end();
}
