// The ledger that `runledger demo` makes, as one who tries it out goes through it.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { done, inspect, link, open as look } from "./eyes.mjs";
import { run, serve } from "./site.mjs";

let site;
before(async () => { site = await serve({ fill: (dir) => run("demo", dir) }); });
after(async () => { await site?.close(); });

const open = (path, options = {}) => look(site.base + path, options);

for (const javaScriptEnabled of [true, false]) {
  test(`from a failure to its cause, ${javaScriptEnabled ? "with" : "without"} JavaScript`, async () => {
    const page = await open("/", { javaScriptEnabled });
    const chip = page.locator('nav[aria-label="Filter by status"] a', { hasText: "failed" });
    const count = Number(await chip.locator("b").innerText());
    await chip.click();
    await page.waitForURL(/status=failed/);
    const rows = page.locator("#rows tr");
    assert.equal(await rows.count(), count);
    assert.equal(await page.locator("#rows .s-failed").count(), count);
    await page.click("text=Errors");
    await page.click(".groups .go >> nth=0");
    await page.waitForURL(/\/errors\/1-/);
    assert.ok(await page.locator(".box.bad").isVisible());
    await page.click('ul.plain a[href^="/runs/"] >> nth=0');
    await page.waitForURL(/\/runs\//);
    await page.click("text=First error");
    await page.waitForURL(/#(s\d+|feed)$/);
    assert.ok(await page.locator(".is-error").first().isVisible());
    await page.click('nav[aria-label="Filter by kind"] >> text=errors');
    await page.waitForURL(/kind=error/);
    const items = await page.locator(".feed .item").count();
    assert.ok(items > 0);
    assert.equal(await page.locator(".feed .is-error").count(), items);
    await page.click('.facts a[href^="/traces/"]');
    await page.waitForURL(/\/traces\//);
    assert.ok(await page.locator(".waterfall .bar").count() > 0);
    assert.ok(await page.locator(".waterfall .tick").count() > 0);
    await done(page);
  });
}

test("the tail goes on where it was when the connection comes back", async () => {
  const page = await open("/tail?kind=event");
  const items = page.locator("#rows .item");
  assert.equal(await items.count(), 40);
  await page.waitForSelector('.live[aria-pressed="true"]');
  await site.append("events", { type: "before", message: "before the break" });
  await page.waitForSelector("text=before the break", { timeout: 5000 });
  await site.restart();
  await site.append("events", { type: "after", message: "during the break" });
  await page.waitForSelector("text=during the break", { timeout: 15000 });
  assert.match(await page.locator(".gap").innerText(), /The connection was lost for \d+ s/);
  assert.equal(await page.locator("text=before the break").count(), 1);
  // What a server that goes away does to a stream is said aloud, and is no fault of the page.
  page.complaints = page.complaints.filter((text) => !/ERR_|MIME/.test(text));
  await done(page);
});

test("no page of the demo breaks a rule", async () => {
  const of = (path, selector) => link(site.base + path, selector);
  const failed = await of("/?status=failed", "#rows .go");
  assert.deepEqual(await inspect(site.base, [
    "/", `${failed}?kind=error`, await of(failed, '.facts a[href^="/traces/"]'), "/errors",
    "/overview?range=7d", "/tail",
  ]), []);
});

test("a clean-up shows what would go, and does it only then", async () => {
  const page = await open("/segments");
  await page.fill("input[name=days]", "1");
  await page.selectOption("select[name=kind]", "event");
  await page.click("text=Show what would go");
  await page.waitForSelector("text=Nothing would go");
  assert.ok(await page.locator("tbody tr").count() > 0);
  await done(page);
});
