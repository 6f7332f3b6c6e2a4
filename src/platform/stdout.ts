/** What one write puts into a pipe undivided, in bytes (POSIX asks for 512, Linux gives 4096). */
const UNDIVIDED = 4096;

/**
 * Writes lines to standard output in batches, one write per turn of the event loop; nothing is lost at exit. Where the
 * output is `shared` with other processes, batches are small enough for no line of theirs to come within one.
 */
export function stdoutLines({ shared = false } = {}): (line: string) => void {
  let buffer = '';
  const flush = () => {
    const lines = buffer;
    buffer = '';
    if (lines) process.stdout.write(lines);
  };
  // Whoever read the log has gone: that is no reason to stop serving.
  process.stdout.on('error', () => {});
  process.on('exit', flush);
  return (line) => {
    // A character is three bytes at most, for each of its UTF-16 units.
    if (shared && (buffer.length + line.length) * 3 > UNDIVIDED) flush();
    if (!buffer) setImmediate(flush);
    buffer += line;
  };
}
