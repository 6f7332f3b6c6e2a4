import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Creates an untrusted certificate with the `openssl` command, for 127.0.0.1 unless told otherwise. */
export function selfSigned(subject = 'IP:127.0.0.1'): { key: Buffer; cert: Buffer } {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-tls-'));
  try {
    const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    const names = ['-subj', '/CN=localhost', '-addext', `subjectAltName=${subject}`];
    const args = ['req', '-x509', ...curve, '-nodes', '-keyout', key, '-out', cert, ...names];
    execFileSync('openssl', args, { stdio: 'ignore' });
    return { key: readFileSync(key), cert: readFileSync(cert) };
  } finally {
    rmSync(directory, { recursive: true });
  }
}
