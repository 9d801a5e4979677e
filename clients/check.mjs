// Makes typed clients of schema.graphql (or of the file given) and checks them. See README.md.
// All of it happens in a temporary directory, so nothing generated lies about and runs do not disturb each other.
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";

const here = import.meta.dirname;
const packages = path.resolve(here, "../web/node_modules");
const schema = path.resolve(process.argv[2] ?? path.join(here, "../schema.graphql"));

const steps = [
  ["graphql-codegen", ["--config", "codegen.yml"]],
  ["tsc", ["--project", "tsconfig.json"]],
  ["relay-compiler", ["relay.config.json"]],
];

const directory = mkdtempSync(path.join(os.tmpdir(), "holdfast-clients-"));
try {
  cpSync(here, directory, { recursive: true });
  cpSync(schema, path.join(directory, "schema.graphql"));
  symlinkSync(packages, path.join(directory, "node_modules"));
  for (const [program, given] of steps) {
    console.log(`clients: ${program}`);
    execFileSync(process.execPath, [path.join(packages, ".bin", program), ...given], { cwd: directory, stdio: "inherit" });
  }
} catch (error) {
  if (error.status === undefined) throw error;
  process.exitCode = 1; // The program has said why.
} finally {
  rmSync(directory, { recursive: true, force: true });
}
