import type { Fields, Log } from '../deps.ts';

const LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LEVELS)[number];
/** Creates the logger of a process. */
export type LogAt = (level: LogLevel) => Log;

/** Creates a logger of JSON lines. `write` gets each line with its newline. `always` is part of every line. */
export function createLog(level: LogLevel, write: (line: string) => void, always?: Fields): Log {
  const now = createClock();
  const log = (at: LogLevel) => {
    if (LEVELS.indexOf(at) < LEVELS.indexOf(level)) return () => {};
    return (msg: string, fields?: Fields) => {
      const line: Line = { time: now(), level: at, msg, ...always, ...fields };
      if (line.error !== undefined) line.error = serializeError(line.error);
      write(`${stringify(line)}\n`);
    };
  };
  return { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') };
}

/** Returns a clock that tells the time as RFC 3339 text, and formats it once per millisecond. */
function createClock(): () => string {
  let lastMs = Number.NaN;
  let text = '';
  return () => {
    const nowMs = Date.now();
    if (nowMs !== lastMs) text = new Date(nowMs).toISOString();
    lastMs = nowMs;
    return text;
  };
}

type Line = { time: string; level: string; msg: string; error?: unknown };

function stringify(line: Line): string {
  try {
    return JSON.stringify(line);
  } catch {
    return JSON.stringify({ time: line.time, level: line.level, msg: line.msg, unloggable: true });
  }
}

/** Formats an error with its stack and causes, and only those properties known to contain no personal data. */
function serializeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return typeof error === 'string' ? error : 'not an error';
  const { name, message, stack, cause } = error;
  const { code, sqlState, constraint } = error as { code?: unknown; sqlState?: unknown; constraint?: unknown };
  const more = cause !== undefined && depth < 5 ? { cause: serializeError(cause, depth + 1) } : {};
  return { name, message, code, sqlState, constraint, stack, ...more };
}
