/** Writes lines to standard output in batches, one write per turn of the event loop; nothing is lost at exit. */
export function stdoutLines(): (line: string) => void {
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
    if (!buffer) setImmediate(flush);
    buffer += line;
  };
}
