/** How many bytes a write to a pipe writes atomically (at least 512 by POSIX, 4096 on Linux). */
const PIPE_BUF = 4096;

/**
 * Writes lines to standard output in batches, one write per turn of the event loop. Nothing is lost at exit. If the output
 * is `shared` with other processes, batches are small enough to be atomic, except for a longer line.
 */
export function stdoutLines(shared: boolean): (line: string) => void {
  let buffer = '';
  const flush = () => {
    const lines = buffer;
    buffer = '';
    if (lines) process.stdout.write(lines);
  };
  // The reader of the log is gone, which is no reason to stop serving.
  process.stdout.on('error', () => {});
  process.on('exit', flush);
  return (line) => {
    // At most three bytes per UTF-16 unit.
    if (shared && (buffer.length + line.length) * 3 > PIPE_BUF) flush();
    if (!buffer) setImmediate(flush);
    buffer += line;
  };
}
