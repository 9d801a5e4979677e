// The npm packages of web/, for scripts that live elsewhere.
import { createRequire } from "node:module";

export const require = createRequire(new URL("../../../web/package.json", import.meta.url));

// Everything a script found, as one line of JSON for the test that started it.
export function tell(found) {
  process.stdout.write(`${JSON.stringify(found)}\n`);
}
