import { readFileSync, rmSync, writeFileSync } from 'node:fs';

/**
 * Takes `<dir>.lock` for this process and returns what gives it back. A lock left behind by a process that is gone is
 * taken over. Throws where a living process holds it.
 */
export function lockDirectory(dir: string): () => void {
  const file = `${dir}.lock`;
  const take = () => writeFileSync(file, String(process.pid), { flag: 'wx' });
  try {
    take();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const owner = Number(readFileSync(file, 'utf8'));
    if (owner !== process.pid && isAlive(owner)) throw new Error(`${dir} is in use by process ${owner}`);
    rmSync(file, { force: true });
    take();
  }
  return () => rmSync(file, { force: true });
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
