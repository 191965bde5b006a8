import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { done, inspect, link, open as look } from "./eyes.mjs";
import { serve, story } from "./site.mjs";

let site;
let told;
before(async () => {
  site = await serve({ config: '[links]\nbooking = "https://shop.example/bookings/{id}"\n' });
  told = await story(site);
});
after(async () => { await site?.close(); });

const open = (path, options = {}, base = site.base) => look(base + path, options);

test("the list is filtered, paged and led on from", async () => {
  const page = await open("/");
  assert.equal(await page.locator("#rows tr").count(), 50);
  await page.click('nav[aria-label="Filter by status"] >> text=failed');
  await page.waitForURL(/status=failed/);
  const shown = await page.locator("#rows .badge").allTextContents();
  assert.ok(shown.length > 10 && shown.every((text) => text.trim() === "failed"));
  await page.selectOption("select[name=type]", "send-invoices");
  await page.fill("input[name=since]", "-24h");
  await page.click(".filter .primary");
  await page.waitForURL(/status=failed.*type=send-invoices.*since=-24h/);
  await page.goBack();
  await page.goBack();
  await page.waitForURL((url) => url.search === "");
  const first = await page.locator("#rows tr").first().getAttribute("data-run");
  await page.click(".pager >> text=Older");
  await page.waitForURL(/cursor=/);
  assert.notEqual(await page.locator("#rows tr").first().getAttribute("data-run"), first);
  await page.click(".pager >> text=Newest");
  await page.waitForURL((url) => url.search === "");
  assert.equal(await page.locator("#rows tr").first().getAttribute("data-run"), first);
  await done(page);
});

test("a run shows what it failed of, and what happened", async () => {
  const page = await open(`/runs/${told.run}`);
  assert.match(await page.locator(".bad").innerText(), /the payment was refused/);
  const link = page.locator("a.out");
  assert.equal(await link.getAttribute("href"), "https://shop.example/bookings/B-1041");
  await page.click("text=First error");
  await page.waitForURL(/#s\d+$/);
  const block = page.locator("details.block", { hasText: "metadata" });
  assert.ok(!(await block.locator("pre").isVisible()));
  await block.locator("summary").click();
  assert.match(await block.locator("pre").innerText(), /"currency": "EUR"/);
  await done(page);
});

test("one box takes any id", async () => {
  const page = await open("/");
  for (const [id, where] of [
    ["checkout-7", /runs\/checkout-7/], [told.trace, /traces/], ["booking:B-1041", /subject=/],
  ]) {
    await page.fill("#find", id);
    await page.press("#find", "Enter");
    await page.waitForURL(where);
  }
  await page.fill("#find", "no such thing");
  await page.press("#find", "Enter");
  await page.waitForSelector("text=nothing in the ledger");
  await done(page);
});

test("a trace is a waterfall with its critical path", async () => {
  const page = await open(`/traces/${told.trace}`);
  assert.equal(await page.locator(".waterfall tbody tr").count(), 6);
  const critical = await page.locator("tr.critical .go").allTextContents();
  assert.deepEqual(critical, ["checkout", "reserve seats", "lock rows", "payment", "card gateway"]);
  await page.keyboard.press("e");
  await page.waitForURL(/#s\d+$/);
  const first = new URL(page.url()).hash;
  await page.keyboard.press("e");
  await page.waitForURL((url) => url.hash !== first);
  await done(page);
});

test("the tail shows what another process appends, and waits while one reads", async () => {
  const page = await open("/tail");
  await page.waitForSelector('.live[aria-pressed="true"]');
  await site.append("events", { type: "news", message: "as it comes" });
  await page.waitForSelector("text=as it comes", { timeout: 5000 });
  await page.evaluate(() => scrollTo(0, 0));
  await page.waitForTimeout(200);
  await site.append("events", { type: "news", message: "while you read" });
  await page.waitForSelector("#news:visible", { timeout: 5000 });
  assert.equal(await page.locator("#news").innerText(), "1 new");
  assert.equal(await page.locator("text=while you read").count(), 0);
  await page.click("#news");
  await page.waitForSelector("text=while you read");
  await done(page);
});

test("the list follows runs, and a lasting run counts on", async () => {
  const page = await open("/");
  const cell = page.locator('tr[data-run="/runs/sync-live"] [data-since]');
  const before = await cell.innerText();
  await page.keyboard.press("l");
  await page.waitForSelector('.live[aria-pressed="true"]');
  await site.append("runs", { run_id: "fresh", type: "fresh run", status: "running" });
  await page.waitForSelector('tr[data-run="/runs/fresh"]', { timeout: 5000 });
  await site.append("runs", { run_id: "fresh", type: "fresh run", status: "success" });
  await page.waitForSelector('tr[data-run="/runs/fresh"] .s-success', { timeout: 5000 });
  assert.equal(await page.locator('tr[data-run="/runs/fresh"]').count(), 1);
  await page.waitForFunction((text) => document.querySelector('[data-run="/runs/sync-live"] [data-since]').textContent !== text, before);
  await done(page);
});

test("keys alone are enough", async () => {
  const page = await open("/");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("k");
  const first = await page.locator("#rows .go").first().getAttribute("href");
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("href")), first);
  await page.keyboard.press("Enter");
  await page.waitForURL(`**${first}`);
  await page.keyboard.press("x");
  assert.equal(await page.locator("details.block:not([open])").count(), 0);
  await page.keyboard.press("?");
  assert.ok(await page.locator("#keys").isVisible());
  await page.keyboard.press("Escape");
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement.id), "find");
  await done(page);
});

test("without JavaScript everything but what moves is there", async () => {
  const page = await open("/", { javaScriptEnabled: false });
  await page.click('nav[aria-label="Filter by status"] >> text=failed');
  await page.waitForURL(/status=failed/);
  await page.click("#rows .go >> nth=0");
  await page.waitForURL(/runs/);
  await page.goto(`${site.base}/traces/${told.trace}`);
  await page.click(".jump >> nth=0");
  await page.goto(`${site.base}/errors`);
  await page.click(".groups .go >> nth=0");
  await page.waitForURL(/errors\/1-/);
  assert.equal(await page.locator(".live:visible").count(), 0);
  await page.click(".menu summary");
  await page.click("text=Dark");
  await page.waitForSelector("html[data-theme=dark]");
  await done(page);
});

test("clean-up is shown, confirmed and told", async () => {
  const other = await serve();
  try {
    await other.append("events", { type: "old", ts: "2020-01-01T00:00:00Z" });
    const page = await open("/segments", {}, other.base);
    await page.fill("input[name=days]", "30");
    await page.click("text=Show what would go");
    await page.waitForSelector("text=Dry run");
    await page.click("text=Drop it");
    await page.waitForSelector("text=Done:");
    await page.goto(`${other.base}/tail`);
    assert.equal(await page.locator("#rows li").count(), 0);
    await done(page);
  } finally {
    await other.close();
  }
});

test("one signs in with a token, sees one's own, and signs out", async () => {
  const other = await serve({ secret: true });
  try {
    const ann = other.token("ann", "read", "write");
    await other.append("runs", { run_id: "of-ann", type: "t", status: "success" }, ann);
    const page = await open("/runs/of-ann", {}, other.base);
    assert.match(page.url(), /login\?to=/);
    await page.fill("#token", "nonsense");
    await page.click("main .primary");
    await page.waitForSelector("[role=alert]");
    await page.fill("#token", ann);
    await page.click("main .primary");
    await page.waitForURL("**/runs/of-ann");
    assert.equal(await page.evaluate(() => document.cookie), "");
    await page.click(".menu summary");
    await page.click("text=Sign out");
    await page.waitForURL("**/login");
    await page.fill("#token", other.token("bob", "read"));
    await page.click("main .primary");
    await page.waitForSelector("text=No runs yet");
    await page.goto(`${other.base}/runs/of-ann`);
    await page.waitForSelector("text=no run");
    await done(page);
  } finally {
    await other.close();
  }
});

// Cookies are of a host, whatever the port: the second server's cookie took the place of the first's.
test("who signs in to a second server of the host stays signed in to the first", async () => {
  const servers = [await serve({ secret: true }), await serve({ secret: true })];
  try {
    const page = await look(servers[0].base);
    for (const { base, token } of servers) {
      await page.goto(base);
      await page.fill("#token", token(`of-${new URL(base).port}`, "read"));
      await page.click("main .primary");
      await page.waitForSelector("text=No runs yet");
    }
    for (const { base } of servers) {
      await page.goto(base);
      await page.waitForSelector("text=No runs yet");
      assert.match(await page.locator(".menu").textContent(), new RegExp(`of-${new URL(base).port}`));
    }
    await page.context().close();
  } finally {
    for (const server of servers) await server.close();
  }
});

test("who hears a page, or sees no colours, is told the same", async () => {
  const page = await open("/", { viewport: { width: 360, height: 740 }, forcedColors: "active" });
  // Cards on a narrow screen are a table still.
  const row = page.getByRole("row").filter({ has: page.getByRole("rowheader") }).first();
  assert.ok(await row.getByRole("cell").count() >= 3);
  assert.ok(await page.getByRole("columnheader", { name: "Duration" }).count());
  await page.getByRole("navigation", { name: "Filter by status" }).getByRole("link", { name: /^failed/ }).click();
  await page.waitForURL(/status=failed/);
  const chosen = page.locator(".chip[aria-current]");
  assert.match(await chosen.innerText(), /failed/);
  assert.equal(await chosen.evaluate((it) => getComputedStyle(it).outlineStyle), "solid");
  await page.goto(`${site.base}/runs/${told.run}`);
  const headings = await page.locator("h1, h2").evaluateAll((all) => all.map((it) => it.tagName));
  assert.equal(headings[0], "H1");
  assert.equal(headings.filter((name) => name === "H1").length, 1);
  // From the head of the page to what happened there are few stops, however many marks there are.
  const stops = await page.evaluate(() => {
    const feed = document.querySelector(".feed");
    const all = [...document.querySelectorAll("main a[href], main button, main summary, main pre[tabindex]")];
    return all.filter((it) => it.tabIndex >= 0 && it.checkVisibility()
      && it.compareDocumentPosition(feed) & Node.DOCUMENT_POSITION_FOLLOWING).length;
  });
  assert.ok(stops < 25, `${stops}`);
  await done(page);
});

test("nothing turns where less motion is asked for", async () => {
  for (const [reducedMotion, name] of [["no-preference", "turn"], ["reduce", "none"]]) {
    const page = await open("/?status=running", { reducedMotion });
    const icon = page.locator("#rows .badge.s-running .i").first();
    assert.equal(await icon.evaluate((it) => getComputedStyle(it).animationName), name);
    await done(page);
  }
});

test("no page breaks a rule of accessibility, light or dark, wide or narrow", async () => {
  const group = await link(`${site.base}/errors`, ".groups .go");
  assert.deepEqual(await inspect(site.base, [
    "/", "/?status=failed&type=none", `/runs/${told.run}`, `/traces/${told.trace}`, "/errors",
    group, "/overview", "/tail", "/segments", "/segments?days=1", "/runs/none", "/records/2",
  ]), []);
});

test("a first visit is light, and shown soon", async () => {
  const page = await open("/");
  const bytes = await page.evaluate(async () => {
    const entries = performance.getEntriesByType("resource").map((it) => it.name);
    const answers = await Promise.all([location.href, ...entries].map((url) => fetch(url)));
    const texts = await Promise.all(answers.map((answer) => answer.arrayBuffer()));
    return texts.reduce((sum, text) => sum + text.byteLength, 0);
  });
  assert.ok(bytes < 100 * 1024, `${bytes} bytes`);
  const sent = await page.evaluate(() => [
    ...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource"),
  ].reduce((sum, entry) => sum + entry.transferSize, 0));
  assert.ok(sent < 25 * 1024, `${sent} bytes sent`);
  await done(page);
});
