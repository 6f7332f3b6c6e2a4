/** Milliseconds between progress reports: in a log, and on a terminal. */
const TELL_EVERY_MS = 1000;
const REDRAW_EVERY_MS = 100;

export const say = (text: string) => void process.stdout.write(text);
export const number = (n: number) => n.toLocaleString('en');

/** Reports the progress of work on many `things`: on a terminal in one line, otherwise in a line per second. */
export function teller(things: string): (done: number, total: number) => void {
  const { isTTY } = process.stdout;
  const began = performance.now();
  let told = isTTY ? Number.NEGATIVE_INFINITY : began;
  return (done, total) => {
    const now = performance.now();
    const isEnd = isTTY && done === total;
    if (now - told < (isTTY ? REDRAW_EVERY_MS : TELL_EVERY_MS) && !isEnd) return;
    told = now;
    const perSecond = done / ((now - began) / 1000);
    const left = done < total ? Math.ceil((total - done) / perSecond) : 0;
    const line = `${number(done)} of ${number(total)} ${things}, ${number(Math.round(perSecond))}/s, ${left} s left`;
    say(isTTY ? `\r\x1b[K${line}` : `${line}\n`);
  };
}
