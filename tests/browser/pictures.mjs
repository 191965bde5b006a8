// Pictures of the pages for the documentation: `npm run pictures`, into docs/. They are made small
// by pngquant, which has to be installed.
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { browse, root, serve, story } from "./site.mjs";

const site = await serve({ config: '[links]\nbooking = "https://shop.example/bookings/{id}"\n' });
const browser = await browse();
try {
  const told = await story(site);
  const into = process.env.PICTURES ?? join(root, "docs");
  mkdirSync(into, { recursive: true });
  const pages = {
    list: "/", run: `/runs/${told.run}`, errors: "/errors", group: "/errors",
    trace: `/traces/${told.trace}`, overview: "/overview", tail: "/tail", storage: "/segments?days=1",
  };
  const wanted = process.env.ONLY?.split(",");
  for (const colorScheme of ["light", "dark"]) {
    for (const [width, height] of [[1280, 800], [360, 740]]) {
      const context = await browser.newContext({
        colorScheme, viewport: { width, height }, reducedMotion: "reduce",
      });
      const page = await context.newPage();
      for (const [name, place] of Object.entries(pages)) {
        if (wanted && !wanted.includes(name)) continue;
        await page.goto(site.base + place);
        if (name === "group") {
          await page.click(".groups .go >> nth=0");
          await page.waitForURL(/errors\/1-/);
        }
        await page.waitForTimeout(250);
        const path = join(into, `${name}-${width}-${colorScheme}.png`);
        await page.screenshot({ path });
        execFileSync("pngquant", ["--force", "--ext", ".png", "--strip", "64", path]);
      }
      await context.close();
    }
  }
} finally {
  await browser.close();
  await site.close();
}
