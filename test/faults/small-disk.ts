import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A file system of `mib` MiB in memory; `path` is where it is mounted. Throws where nothing may be mounted. */
export function mountDisk(mib: number): { path: string; unmount(): void } {
  const path = mkdtempSync(join(tmpdir(), 'keelson-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'tmpfs', path], { stdio: 'pipe' });
  } catch (error) {
    rmdirSync(path);
    throw error;
  }
  chmodSync(path, 0o755);
  const unmount = () => {
    process.off('exit', unmount);
    execFileSync('umount', ['--lazy', path]);
    rmdirSync(path);
  };
  process.on('exit', unmount);
  return { path, unmount };
}

/** Why nothing can be mounted here, if so. */
export function whyNoDisk(): string | undefined {
  try {
    mountDisk(1).unmount();
    return undefined;
  } catch (error) {
    return `a disk of its own cannot be mounted: ${String((error as { stderr?: Buffer }).stderr ?? error).trim()}`;
  }
}
