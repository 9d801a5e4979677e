import { Buffer } from "node:buffer";

import { defineConfig } from "vite";

const base = "/graphiql/";

// GraphiQL's style sheets carry their fonts inside: 360 kB before anything is painted. As files of their own only
// those are loaded whose characters are on the page.
const fontsAsFiles = {
  name: "fonts-as-files",
  generateBundle(_options, bundle) {
    for (const asset of Object.values(bundle)) {
      if (!asset.fileName.endsWith(".css")) continue;
      asset.source = String(asset.source).replace(/url\(data:font\/(\w+);base64,([^)]+)\)/g, (_, format, data) => {
        const file = this.emitFile({ type: "asset", name: `font.${format}`, source: Buffer.from(data, "base64") });
        return `url(${base}${this.getFileName(file)})`;
      });
    }
  },
};

export default defineConfig({
  root: import.meta.dirname,
  base,
  clearScreen: false,
  logLevel: "warn",
  plugins: [fontsAsFiles],
  build: {
    target: "es2022",
    emptyOutDir: false, // scripts/build.mjs gives each build a new directory
    sourcemap: false,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 5000,
    // A worker or an icon as a data: URL is against the page's content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      onLog(level, log, handler) {
        if (log.code !== "MODULE_LEVEL_DIRECTIVE") handler(level, log); // "use client" and its like mean nothing here
      },
    },
  },
  worker: { format: "es" },
});
