// Bundles each page into dist/: one HTML file with its script and style inside, so that a page is one request.
import { build, context } from "esbuild";
import { mkdir, readFile, writeFile } from "node:fs/promises";

const PAGES = ["studio", "overlay"];
// The Chromium inside OBS.
const TARGET = "chrome127";

async function page(name) {
  const bundle = (entry) =>
    build({ entryPoints: [entry], bundle: true, minify: true, target: TARGET, write: false, format: "iife" }).then(
      (result) => result.outputFiles[0].text.trim(),
    );
  const html = await readFile(`src/${name}/index.html`, "utf8");
  const [script, style] = await Promise.all([bundle(`src/${name}/main.ts`), bundle(`src/${name}/style.css`)]);
  await mkdir("dist", { recursive: true });
  const out = html
    .replace("/*STYLE*/", () => style)
    .replace("/*SCRIPT*/", () => script.replaceAll("</script", "<\\/script"));
  await writeFile(`dist/${name}.html`, out);
  console.log(`dist/${name}.html ${(out.length / 1000).toFixed(1)} kB`);
}

const all = () => Promise.all(PAGES.map(page));
await all();
if (process.argv.includes("--watch")) {
  const watcher = await context({
    entryPoints: PAGES.flatMap((name) => [`src/${name}/main.ts`, `src/${name}/style.css`]),
    bundle: true,
    write: false,
    outdir: "dist",
    plugins: [{ name: "pages", setup: (b) => b.onEnd(all) }],
  });
  await watcher.watch();
}
