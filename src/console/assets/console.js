// @ts-check
// What the console does in a browser: it fetches the page again every few seconds, and replaces its live part, unless that
// is paused or text of it is selected. Everything else works without it.

const hold = /** @type {HTMLButtonElement | null} */ (document.querySelector('[data-hold]'));
const trouble = document.querySelector('[data-trouble]');

/** Milliseconds after which a response is not waited for any longer. */
const FETCH_TIMEOUT_MS = 15_000;

if (hold && document.getElementById('live')) {
  hold.hidden = false;
  hold.addEventListener('click', () => {
    hold.setAttribute('aria-pressed', String(!isHeld(hold)));
  });
  again();
}

/** @param {HTMLElement} button */
function isHeld(button) {
  return button.getAttribute('aria-pressed') === 'true';
}

/** Waits as long as the page says, refreshes it, and so on. Whoever does not look at it costs nothing. */
function again() {
  const seconds = Number(document.getElementById('live')?.dataset.refreshS);
  // Without a number, there is nothing more to follow.
  if (!(seconds > 0)) return;
  setTimeout(async () => {
    if (hold && !isHeld(hold) && !document.hidden) await refresh();
    again();
  }, seconds * 1000);
}

async function refresh() {
  try {
    const response = await fetch(location.href, {
      headers: { 'X-Refresh': '1' },
      signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
    });
    const page = new DOMParser().parseFromString(await response.text(), 'text/html');
    const [before, after] = [document.getElementById('live'), page.getElementById('live')];
    if (response.redirected) return say('Your session has ended: reload to sign in.');
    if (!response.ok) return say(`Not refreshed: ${page.querySelector('main p')?.textContent ?? response.status}`);
    say('');
    if (!before || (hold && isHeld(hold))) return;
    if (after) {
      replaceAlarm(page.getElementById('alarm'));
      if (!isSelected(before)) replace(before, after);
    } else if (isSelected(document.body) || document.querySelector('main details[open]')) {
      say('The delivery has ended: reload to see how.');
    } else {
      // What was followed is over: the page without a live part shows how it ended.
      location.reload();
    }
  } catch {
    say('Not refreshed: the service does not respond.');
  }
}

/**
 * Replaces the live part, except where the reader is: what is open stays open, and the focus where it was, also if its row
 * has moved.
 * @param {HTMLElement} before
 * @param {HTMLElement} after
 */
function replace(before, after) {
  const opened = Array.from(before.querySelectorAll('details'), (details) => details.open);
  for (const [n, details] of after.querySelectorAll('details').entries()) details.open = opened[n] ?? false;
  const [old, its] = [focusableIn(before), focusableIn(after)];
  const focused = old.find((element) => element === document.activeElement);
  before.replaceWith(after);
  if (!focused) return;
  const nth = its[old.indexOf(focused)];
  const same = [nth, ...its].find((element) => element && leadsTo(element) === leadsTo(focused));
  (same ?? nth)?.focus({ preventScroll: true });
}

/**
 * @param {HTMLElement} element
 * @returns {HTMLElement[]}
 */
function focusableIn(element) {
  return Array.from(element.querySelectorAll('a, button, summary, input:not([type=hidden])'));
}

/**
 * Where a link or the button of a form leads.
 * @param {HTMLElement} element
 */
function leadsTo(element) {
  return element.getAttribute('href') ?? element.closest('form')?.getAttribute('action');
}

/**
 * A screen reader reads an alarm out whenever it is put in: once for what it says.
 * @param {HTMLElement | null} after
 */
function replaceAlarm(after) {
  const before = document.getElementById('alarm');
  if (before && after && before.textContent !== after.textContent) before.replaceChildren(...after.childNodes);
}

/**
 * Whether text of it is selected, perhaps to be copied.
 * @param {HTMLElement} element
 */
function isSelected(element) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(element, true);
}

/** @param {string} text */
function say(text) {
  if (trouble && trouble.textContent !== text) trouble.textContent = text;
}
