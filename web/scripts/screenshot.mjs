// Takes the README's picture: GraphiQL after publishing a plan of the demo course, with the job's events.
// Needs `make up` running, playwright-core (`web/build.sh --packages`), and a chromium (CHROMIUM names one of one's own).
//     web/node web/scripts/screenshot.mjs [docs/images/graphiql.png]
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import readline from "node:readline";

const root = path.resolve(import.meta.dirname, "../..");
const file = path.resolve(process.argv[2] ?? path.join(root, "docs/images/graphiql.png"));
const state = path.join(process.env.HOLDFAST_DATA ?? path.join(root, ".holdfast"), "up.json");
const chromium = process.env.CHROMIUM ?? "/usr/bin/chromium";

const needed = [
  [state, "Nothing runs to take a picture of: start it with `make up`."],
  [path.join(root, "web/node_modules/playwright-core"), "playwright-core is not installed: run web/build.sh --packages."],
  [chromium, `There is no ${chromium}: apt-get install chromium, or set CHROMIUM=/path/to/chromium.`],
];
for (const [place, advice] of needed) {
  if (existsSync(place)) continue;
  console.error(advice);
  process.exit(1);
}
const up = JSON.parse(readFileSync(state, "utf8"));

const driver = spawn(process.execPath, [path.join(root, "tests/server/browser/driver.mjs")], {
  env: { ...process.env, CHROMIUM: chromium },
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

// The job of the first draft that can be published: of a demo that is some days old, some dates have passed.
async function published(drafts) {
  const refusals = [];
  for (const { id, title } of drafts) {
    const { publishPlan } = await operation("PublishPlan", {
      variables: { input: { planId: id, openNow: true } },
      where: "it.data?.publishPlan",
    });
    if (publishPlan.job) return publishPlan.job;
    refusals.push(`${title}: ${publishPlan.userErrors.map(({ message }) => message).join(" ")}`);
  }
  throw new Error(["No draft of the demo teacher can be published.", ...refusals].join("\n"));
}

try {
  await run("open", { url: `${up.url}/graphiql` });
  await run("token", { token: up.tokens.teacher });
  const { viewer } = await operation("Viewer", { where: "it.data" });
  const plans = viewer.courses.flatMap((course) => course.plans.nodes);
  const job = await published(plans.filter(({ state }) => state === "DRAFT"));
  await operation("JobProgress", {
    variables: { jobId: job.id, after: 0 },
    where: "it.data.jobProgress.status === 'COMPLETED'",
  });
  await run("job", { id: job.id, watch: "ended", status: "COMPLETED" });
  await run("screenshot", { file });
  console.log(file);
} finally {
  driver.stdin.end();
}
