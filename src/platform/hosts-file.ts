import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';

/** Looks up names in the system's hosts file, and reads it again when it has changed. Without the file, finds none. */
export function hostsFile(path = '/etc/hosts'): (name: string) => string[] | undefined {
  let version = '';
  let names = new Map<string, string[]>();
  return (name) => {
    try {
      // Synchronous: asynchronous reads would wait for the thread pool, which look-ups by the system may block.
      const { mtimeMs, size } = statSync(path);
      if (version !== `${mtimeMs} ${size}`) names = parse(readFileSync(path, 'utf8'));
      version = `${mtimeMs} ${size}`;
    } catch {
      names.clear();
      version = '';
    }
    return names.get(name);
  };
}

function parse(text: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const [address, ...names] = line.replace(/#.*/, '').trim().toLowerCase().split(/\s+/) as [string, ...string[]];
    if (isIP(address) === 0) continue;
    for (const name of names) found.set(name, [...(found.get(name) ?? []), address]);
  }
  return found;
}
