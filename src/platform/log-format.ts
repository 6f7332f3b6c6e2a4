import { styleText } from 'node:util';

type Write = (line: string) => void;

/**
 * Returns `write` for JSON, otherwise a writer that makes JSON lines readable first: in colors where the terminal has
 * them (NO_COLOR, FORCE_COLOR), without control characters. Any other `format` counts as `auto`.
 */
export async function writeFormatted(write: Write, format: string | undefined): Promise<Write> {
  const isReadable = format === 'pretty' || (format !== 'json' && process.stdout.isTTY);
  if (!isReadable) return write;
  const { prettyFactory } = (await import('pino-pretty')).default;
  const print = prettyFactory({
    colorize: styleText('red', '-', { stream: process.stdout }) !== '-',
    errorLikeObjectKeys: ['error'],
    singleLine: true,
    translateTime: 'SYS:HH:MM:ss.l',
  });
  return (line) => write(print(summed(line)).replace(C1, ''));
}

/** The control characters that JSON does not escape. */
const C1 = /[\x7f-\x9f]/g;

/** Moves what was asked and answered from a request's fields to its message. */
function summed(line: string): string {
  if (!line.includes('"msg":"request"')) return line.trimEnd();
  const { method, path, status, durationMs, ...rest } = JSON.parse(line);
  return JSON.stringify({ ...rest, msg: `${method} ${path} ${status} ${durationMs} ms` });
}
