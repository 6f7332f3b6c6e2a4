/** Milliseconds between progress reports: in a log, and on a terminal. */
const REPORT_INTERVAL_MS = 1000;
const REDRAW_EVERY_MS = 100;
/** Columns of a terminal that does not report its width. */
const COLUMNS = 80;

export const say = (text: string) => void process.stdout.write(text);
export const number = (n: number) => n.toLocaleString('en');

export type ReportProgress = (done: number, total: number, what?: string) => void;

export type Progress = {
  /** Reports that `done` of `total` things are done, and what is under way. */
  report: ReportProgress;
  /** Prints a separate line; on a terminal, above the progress line. */
  print(text: string): void;
  /** Leaves the last report where it is. Call it before anything else is printed. */
  end(): void;
};

/**
 * Reports the progress of work on many `things`: on a terminal in one line, which is redrawn even while `report` is not
 * called; otherwise in at most one line per second, and only if more is done.
 */
export function progressOf(things: string): Progress {
  const { isTTY } = process.stdout;
  const began = performance.now();
  let reportedAt = isTTY ? Number.NEGATIVE_INFINITY : began;
  let reportedDone = 0;
  let line: (() => string) | undefined;
  const draw = () => {
    if (line) say(`\r\x1b[K${line().slice(0, (process.stdout.columns || COLUMNS) - 1)}`);
  };
  // Does not keep the process alive.
  const timer = isTTY ? setInterval(draw, REPORT_INTERVAL_MS).unref() : undefined;
  return {
    report: (done, total, what) => {
      line = () => progressLine(things, { done, total, what, ms: performance.now() - began });
      const now = performance.now();
      const isDue = isTTY
        ? now - reportedAt >= REDRAW_EVERY_MS || done === total
        : now - reportedAt >= REPORT_INTERVAL_MS && done > reportedDone;
      if (!isDue) return;
      [reportedAt, reportedDone] = [now, done];
      if (isTTY) draw();
      else say(`${line()}\n`);
    },
    print: (text) => {
      say(isTTY ? `\r\x1b[K${text}\n` : `${text}\n`);
      if (isTTY) draw();
    },
    end: () => {
      clearInterval(timer);
      if (isTTY && line) {
        draw();
        say('\n');
      }
      line = undefined;
    },
  };
}

type State = { done: number; total: number; what?: string | undefined; ms: number };

/** The report after `ms` milliseconds: how much is done, how fast, and how long the rest takes at that rate. */
export function progressLine(things: string, { done, total, what, ms }: State): string {
  const perSecond = done / (ms / 1000);
  const pace = done === 0 ? duration(ms / 1000) : `${rate(perSecond)}, ${duration((total - done) / perSecond)} left`;
  return `${number(done)} of ${number(total)} ${things}, ${pace}${what ? `: ${what}` : ''}`;
}

const rate = (perSecond: number) =>
  perSecond >= 1 ? `${number(Math.round(perSecond))}/s` : `${number(Math.round(perSecond * 600) / 10)}/min`;

function duration(seconds: number): string {
  if (seconds < 100) return `${Math.ceil(seconds)} s`;
  return seconds < 6000 ? `${Math.ceil(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
