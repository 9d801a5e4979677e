// Drives GraphiQL in a real Chromium for tests/server/browser/driver.py: one command as a line of JSON on standard
// input, one answer as a line on standard output. Every wait is for a fact on the page, never for time.
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import readline from "node:readline";

const require = createRequire(new URL("../../../web/package.json", import.meta.url));
const { chromium } = require("playwright-core");

const flags = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
const patience = Number(process.env.BROWSER_TIMEOUT_MS ?? 60_000);

const directories = [];
const browsers = new Map(); // name -> context with a user data directory of its own
const pages = new Map(); // name -> page
const cuts = new Map(); // name of a page -> cuts its sockets
const seen = { requests: [], sockets: [], complaints: [] };

function watch(page, name) {
  page.setDefaultTimeout(patience);
  page.on("websocket", (socket) => seen.sockets.push(socket.url()));
  page.on("pageerror", (error) => seen.complaints.push(`${name}: ${error.message}`));
  page.on("console", (message) => {
    // Chromium's own line for an answer that is as it should be: the token was wrong.
    const isRefusal = message.text().endsWith("401 (Unauthorized)");
    if (["error", "warning"].includes(message.type()) && !isRefusal) {
      seen.complaints.push(`${name}: ${message.type()}: ${message.text()} (${message.location().url})`);
    }
  });
}

async function browserOf(name) {
  if (browsers.has(name)) return browsers.get(name);
  const directory = mkdtempSync(path.join(os.tmpdir(), "chromium-"));
  const context = await chromium.launchPersistentContext(directory, {
    executablePath: process.env.CHROMIUM,
    headless: true,
    args: [...flags, `--log-net-log=${path.join(directory, "net.json")}`],
    viewport: { width: 1280, height: 800 },
  });
  // A violation is reported to the page even where nobody logs it.
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => {
      console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  context.on("request", (request) => seen.requests.push(request.url()));
  browsers.set(name, context);
  directories.push(directory);
  return context;
}

/** Types into one of Monaco's editors as a user does: select all, then the new text. */
async function type(page, area, text) {
  await clear(page, area);
  await page.keyboard.insertText(text);
}

/** Pastes into one: typing several lines would indent them and close their brackets a second time. */
async function paste(page, area, text) {
  const input = await clear(page, area);
  await input.evaluate((element, pasted) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", pasted);
    element.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
  }, text);
}

async function clear(page, area) {
  const input = page.locator(`${area} .monaco-editor textarea`).first();
  await input.focus();
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.press("Delete");
  return input;
}

// A function for the page: it waits for the result pane's own changes, and looks at each. Compiled here, for the
// page's content security policy forbids `eval`.
const untilResult = (where) => new Function(`
  return new Promise((resolve) => {
    const monaco = globalThis.__MONACO;
    const pane = monaco.editor.getModels().find((one) => one.uri.path.endsWith("response.json"));
    const look = () => {
      try {
        const it = JSON.parse(pane.getValue());
        if (${where}) resolve(JSON.stringify(it));
      } catch {
        return;
      }
    };
    pane.onDidChangeContent(look);
    look();
  });`);

async function withPatience(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${patience} ms`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const commands = {
  async open({ browser = "first", page: name, url }) {
    const page = await (await browserOf(browser)).newPage();
    watch(page, name);
    pages.set(name, page);
    await page.goto(url);
    await commands.ready({ page: name });
  },
  // GraphiQL is usable when its editors are there and the schema has arrived.
  async ready({ page }) {
    const here = pages.get(page);
    await here.locator(".graphiql-query-editor .monaco-editor textarea").first().waitFor({ state: "attached" });
    await here.locator("#graphiql .graphiql-spinner").first().waitFor({ state: "detached" });
  },
  async reload({ page }) {
    await pages.get(page).reload();
    await commands.ready({ page });
  },
  async token({ page, token }) {
    const here = pages.get(page);
    await here.getByLabel("Bearer token").fill(token);
    const identity = here.locator(".hf-identity");
    await here.waitForFunction(() => /known|refused/.test(document.querySelector(".hf-identity")?.dataset.state));
    return identity.innerText();
  },
  /** What the page says of the token: in which state it is, and whether all of it can be read. */
  async identity({ page }) {
    return pages.get(page).locator(".hf-identity").evaluate((element) => ({
      state: element.dataset.state,
      isWhole: element.scrollWidth <= element.clientWidth,
    }));
  },
  async transport({ page, transport }) {
    await pages.get(page).getByLabel("Transport of subscriptions").selectOption(transport);
  },
  /** From its next load on, the page's sockets go through this process, which can cut them. */
  async cuttable({ page }) {
    const open = new Set();
    await pages.get(page).routeWebSocket(/\/graphql$/, (socket) => {
      socket.connectToServer();
      open.add(socket);
    });
    cuts.set(page, async () => {
      await Promise.all([...open].map((socket) => socket.close({ code: 3000, reason: "Cut." })));
      open.clear();
    });
  },
  /** Cuts every socket of the page, as a network does that fails. */
  cut: ({ page }) => cuts.get(page)(),
  async tabs({ page }) {
    return pages.get(page).getByRole("tab").allInnerTexts();
  },
  async tab({ page, title }) {
    await pages.get(page).getByRole("tab", { name: title }).click();
  },
  async write({ page, query, variables }) {
    const here = pages.get(page);
    if (query !== undefined) await type(here, ".graphiql-query-editor", query);
    if (variables !== undefined) {
      await paste(here, ".graphiql-editor-tool .graphiql-editor:not(.hidden)", JSON.stringify(variables, null, 2));
    }
  },
  async run({ page }) {
    await pages.get(page).locator(".graphiql-execute-button").click();
  },
  /** Waits until the result pane holds JSON of which the expression (over `it`) is true; returns the JSON. */
  async result({ page, where = "true" }) {
    const here = pages.get(page);
    return JSON.parse(await withPatience(`result where ${where}`, here.evaluate(untilResult(where))));
  },
  is_running: ({ page }) => pages.get(page).locator('.graphiql-execute-button[aria-label^="Stop"]').isVisible(),
  /** The Jobs panel's card of a job, once it is as asked for, with so many events at least. */
  async job({ page, id, watch: state, status, lines = 0 }) {
    const wanted = Object.entries({ job: id, watch: state, status }).filter(([, value]) => value);
    const card = pages.get(page).locator(`.hf-job${wanted.map(([name, value]) => `[data-${name}="${value}"]`).join("")}`);
    await card.waitFor();
    if (lines) await card.locator(".hf-lines li").nth(lines - 1).waitFor();
    return card.evaluate((element) => ({
      status: element.dataset.status,
      watch: element.dataset.watch,
      progress: element.querySelector("progress").value,
      percents: [...element.querySelectorAll(".hf-lines li[data-type=PROGRESS] .hf-percent")].map((one) =>
        Number.parseInt(one.textContent),
      ),
      lines: [...element.querySelectorAll(".hf-lines li")].map(({ dataset }) => [Number(dataset.seq), dataset.type]),
    }));
  },
  /** Makes the window so wide; how wide the narrowest text of a job's events is, and whether each is seen whole. */
  async texts({ page, id, width }) {
    const here = pages.get(page);
    await here.setViewportSize({ width, height: 800 });
    return here.locator(`.hf-job[data-job="${id}"] .hf-text`).evaluateAll((texts) => ({
      narrowest: Math.min(...texts.map((one) => one.clientWidth)),
      areWhole: texts.every((one) => one.scrollWidth <= one.clientWidth),
    }));
  },
  /** What a job's card says in words beside its events, and its buttons. */
  async says({ page, id }) {
    return pages.get(page).locator(`.hf-job[data-job="${id}"]`).evaluate((element) => ({
      left: element.querySelector(".hf-left")?.textContent ?? null,
      buttons: [...element.querySelectorAll("button")].map(({ textContent }) => textContent),
    }));
  },
  /** Presses a button of a job's card. */
  async press({ page, id, button }) {
    await pages.get(page).locator(`.hf-job[data-job="${id}"]`).getByRole("button", { name: button, exact: true }).click();
  },
  /** What is wrong with the variables of the tab that is shown, once the editor knows their types. */
  async variable_problems({ page, type }) {
    return pages.get(page).evaluate(async (wanted) => {
      const { editor, languages } = globalThis.__MONACO;
      const { json } = languages;
      const knows = () => JSON.stringify(json.jsonDefaults.diagnosticsOptions.schemas ?? []).includes(wanted);
      await new Promise((resolve) => {
        json.jsonDefaults.onDidChange(() => knows() && resolve());
        if (knows()) resolve();
      });
      const { uri } = editor.getModels().find((one) => one.uri.path.endsWith("variables.json"));
      const worker = await (await json.getWorker())(uri);
      return (await worker.doValidation(uri.toString())).map(({ message }) => message);
    }, type);
  },
  /** Makes the system light or dark, and waits until the editors are so. */
  async system({ page, is }) {
    const here = pages.get(page);
    await here.emulateMedia({ colorScheme: is });
    const theme = is === "dark" ? "vs-dark" : "vs";
    await here.waitForFunction((wanted) => !document.querySelector(`.monaco-editor:not(.${wanted})`), theme);
  },
  /** Makes the window so wide; whether all tabs are seen whole. */
  async fits({ page, width }) {
    const here = pages.get(page);
    await here.setViewportSize({ width, height: 800 });
    return here.getByRole("tablist").evaluate((element) => element.scrollWidth <= element.clientWidth);
  },
  async storage({ page }) {
    return pages.get(page).evaluate(() => ({ local: { ...localStorage }, session: { ...sessionStorage } }));
  },
  async screenshot({ page, file }) {
    const here = pages.get(page);
    await here.mouse.move(2, 400); // off the editors, whose scroll bars show under it
    await here.evaluate(() => {
      const fading = document.getAnimations().filter(({ effect }) => effect.target?.matches(".scrollbar"));
      return Promise.all(fading.map(({ finished }) => finished));
    });
    await here.screenshot({ path: file });
  },
  async close_page({ page }) {
    await pages.get(page).close();
    pages.delete(page);
  },
  seen: () => seen,
  /** Ends the browsers; `asked`: every address that a page asked for, as Chromium's own network log has it. */
  async finish() {
    await Promise.all([...browsers.values()].map((context) => context.close()));
    const { readFileSync } = await import("node:fs");
    const asked = directories.flatMap((directory) => addressesIn(readFileSync(path.join(directory, "net.json"), "utf8")));
    return { ...seen, asked: [...new Set(asked)] };
  },
};

// Chromium asks for things of its own, too; what a page caused has that page's origin as its initiator.
function addressesIn(log) {
  const { constants, events } = JSON.parse(log);
  const start = constants.logEventTypes.URL_REQUEST_START_JOB;
  const byPage = ({ type, params }) => type === start && /^http/.test(params?.initiator ?? "");
  return events.filter(byPage).map(({ params }) => params.url);
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { do: name, ...given } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await commands[name](given)) ?? null };
  } catch (error) {
    answer = { error: `${name}: ${error.message.slice(0, 2000)}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await Promise.allSettled([...browsers.values()].map((context) => context.close()));
for (const directory of directories) rmSync(directory, { recursive: true, force: true });
