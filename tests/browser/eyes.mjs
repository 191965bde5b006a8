// How the tests look at a page: with a browser of their own, and rules that hold for every page.
import { after, before } from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { browse } from "./site.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let browser;
before(async () => { browser = await browse(); });
after(async () => { await browser?.close(); });

/** A page in a context of its own; whatever it complains of fails the test. */
export const open = async (url, options = {}) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(15000);
  const page = await context.newPage();
  const { origin } = new URL(url);
  page.complaints = [];
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().includes("status of 4")) page.complaints.push(message.text());
  });
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(origin)) page.complaints.push(`asked for ${request.url()}`);
  });
  await page.goto(url);
  return page;
};

export const done = async (page) => {
  assert.deepEqual(page.complaints, []);
  await page.context().close();
};

/** What of the page lies outside of its place: wider than the screen, or over what is beside it. */
const outside = (page) => page.evaluate(() => {
  const found = [];
  if (document.documentElement.scrollWidth > innerWidth) found.push("wider than the screen");
  const clipped = [...document.querySelectorAll("body *")].filter((it) => getComputedStyle(it).clipPath !== "none");
  const isHeard = (it) => clipped.some((other) => other.contains(it));
  for (const it of document.querySelectorAll("body *:not(svg, svg *)")) {
    const { display, overflowX } = getComputedStyle(it);
    const isBox = !display.startsWith("inline") && display !== "none" && display !== "contents";
    // Rows of what can be chosen stand out by the width of their focus ring.
    if (isBox && overflowX === "visible" && it.scrollWidth > it.clientWidth + 3 && !isHeard(it)) {
      const text = it.innerText.replace(/\s+/g, " ").slice(0, 60);
      found.push(`text out of ${it.tagName}.${it.className}: ${text}`);
    }
  }
  return found;
});

/** What breaks a rule of accessibility, with everything unfolded. */
const breaches = async (page) => {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  return violations.map(({ id, nodes }) => {
    const all = nodes.map((node) => `${node.html} ${node.failureSummary}`);
    return `${id}: ${all.slice(0, 3).join("; ")}`;
  });
};

/** Light and wide, dark and narrow, and as narrow as a screen can be. */
const WIDE = { colorScheme: "light", viewport: { width: 1280, height: 900 } };
const NARROW = { colorScheme: "dark", viewport: { width: 360, height: 740 } };
const LEAST = { colorScheme: "light", viewport: { width: 320, height: 640 } };

/** Looks at all of these places, in each way; what is wrong with them. */
export const inspect = async (base, places) => {
  const found = [];
  for (const look of [WIDE, NARROW, LEAST]) {
    const page = await open(base, look);
    await page.addInitScript(() => localStorage.setItem("live", "off"));
    for (const place of places) {
      await page.goto(base + place);
      const faults = await outside(page);
      await page.evaluate(() => document.querySelectorAll("details").forEach((it) => { it.open = true; }));
      faults.push(...await outside(page));
      // What is least differs from what is narrow by its width alone.
      if (look !== LEAST) faults.push(...await breaches(page));
      const where = `${place} ${look.colorScheme} ${look.viewport.width}`;
      found.push(...new Set(faults.map((fault) => `${where}: ${fault}`)));
    }
    await done(page);
  }
  return found;
};

/** Where the first of these links on a page leads. */
export const link = async (url, selector) => {
  const page = await open(url);
  const place = await page.locator(selector).first().getAttribute("href");
  await done(page);
  return place;
};
