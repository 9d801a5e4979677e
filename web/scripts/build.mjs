// Builds GraphiQL into server/static/: installs the locked packages where they are not, bundles, compresses.
// Does nothing where nothing changed since the last time. `--packages` only installs, the tests' packages included.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import zlib from "node:zlib";

const web = path.resolve(import.meta.dirname, "..");
const modules = path.join(web, "node_modules");
const target = path.resolve(web, "../server/static");
const compressible = /\.(html|js|css|svg|ttf|json)$/;

function filesIn(directory) {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort();
}

function digest(files) {
  const hash = createHash("sha256");
  for (const file of files) hash.update(path.relative(web, file)).update("\0").update(readFileSync(file)).update("\0");
  return hash.digest("hex");
}

function stampOf(file) {
  return existsSync(file) ? readFileSync(file, "utf8") : "";
}

// npm comes with Node: in the wheel and in the usual builds beside its binary, in Linux distributions on the PATH.
function npmScript() {
  const beside = path.resolve(path.dirname(process.execPath), "../lib/node_modules/npm/bin/npm-cli.js");
  if (existsSync(beside)) return beside;
  for (const directory of (process.env.PATH ?? "").split(path.delimiter)) {
    if (existsSync(path.join(directory, "npm"))) return path.join(directory, "npm");
  }
  throw new Error("npm is needed to install the packages of web/package-lock.json, and it was not found.");
}

function install({ withTests }) {
  const lock = digest(["package.json", "package-lock.json", ".npmrc"].map((name) => path.join(web, name)));
  const stampFile = path.join(modules, ".holdfast");
  const stamp = stampOf(stampFile);
  if (stamp === `${lock} all` || (!withTests && stamp === `${lock} build`)) return;
  const arguments_ = [npmScript(), "ci", "--no-audit", "--no-fund", "--loglevel=error"];
  if (!withTests) arguments_.push("--omit=dev");
  console.log(`web: installing the npm packages of ${withTests ? "GraphiQL and the tests" : "GraphiQL"}`);
  execFileSync(process.execPath, arguments_, { cwd: web, stdio: ["ignore", "inherit", "inherit"] });
  writeFileSync(stampFile, `${lock} ${withTests ? "all" : "build"}`);
}

const brotli = promisify(zlib.brotliCompress);
const gzip = promisify(zlib.gzip);

async function compress(file) {
  const content = await readFile(file);
  const { BROTLI_PARAM_QUALITY, BROTLI_PARAM_SIZE_HINT } = zlib.constants;
  const params = { [BROTLI_PARAM_QUALITY]: 11, [BROTLI_PARAM_SIZE_HINT]: content.length };
  await Promise.all([
    brotli(content, { params }).then((packed) => writeFile(`${file}.br`, packed)),
    gzip(content, { level: 9 }).then((packed) => writeFile(`${file}.gz`, packed)),
  ]);
  return content.length;
}

// A new directory takes the old one's place in one step, so that a server never sees half of a build.
function swap(fresh) {
  const old = `${fresh}.old`;
  if (existsSync(target)) renameSync(target, old);
  renameSync(fresh, target);
  rmSync(old, { recursive: true, force: true });
}

async function bundle() {
  const { build } = await import("vite");
  mkdirSync(path.join(web, "dist"), { recursive: true });
  const fresh = mkdtempSync(path.join(web, "dist", "build-"));
  try {
    await build({ configFile: path.join(web, "vite.config.mjs"), build: { outDir: fresh } });
    const sizes = await Promise.all(filesIn(fresh).filter((file) => compressible.test(file)).map(compress));
    writeFileSync(path.join(fresh, ".stamp"), sources());
    chmodSync(fresh, 0o755); // the server may be another user
    swap(fresh);
    return sizes.reduce((sum, size) => sum + size, 0);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

function sources() {
  const single = ["package-lock.json", "vite.config.mjs", "tsconfig.json", "index.html", "scripts/build.mjs"];
  return digest([...single.map((name) => path.join(web, name)), ...filesIn(path.join(web, "src"))]);
}

const started = performance.now();
if (process.argv.includes("--packages")) {
  install({ withTests: true });
} else if (process.argv.includes("--force") || stampOf(path.join(target, ".stamp")) !== sources()) {
  install({ withTests: false });
  const size = await bundle();
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`web: GraphiQL built in ${seconds} s, ${(size / 1e6).toFixed(1)} MB before compression`);
}
