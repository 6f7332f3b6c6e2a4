import type { Log } from '../../deps.ts';
import type { Channel } from './channel.ts';

type Mail = { subject: string; text: string };

/** Writes the email for an event, from the body that its webhook would have. */
export function mailFor(body: string): Mail {
  const { type, data } = JSON.parse(body) as { type: string; data: Record<string, unknown> };
  if (type === 'user.created') {
    const name = data.name === undefined ? '' : ` ${shown(data.name)}`;
    return { subject: 'Welcome', text: `Hello${name},\n\nyour account has been created.\n` };
  }
  const lines = Object.entries(data).map(([key, value]) => `${key}: ${shown(value)}`);
  return { subject: type, text: `${lines.join('\n')}\n` };
}

const shown = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));

/** Logs a line, without the address, in place of sending an email. */
export function logEmail(log: Log): Channel {
  return async ({ id, type, body }) => {
    log.info('email', { notificationId: id, type, subject: mailFor(body).subject });
    return { ok: true, status: null };
  };
}
