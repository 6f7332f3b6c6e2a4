import type { Log } from '../deps.ts';
import type { Channel } from '../dispatcher/channels/channel.ts';
import { logEmail } from '../dispatcher/channels/email.ts';
import { resendEmail } from '../dispatcher/channels/resend.ts';
import type { Config } from './config.ts';

/** Creates the channel for the configured email provider. */
export function emailChannel({ email, dispatch }: Config, log: Log): Channel {
  if (email.provider === 'log') return logEmail(log);
  const { resendApiKey: apiKey = '', resendUrl: url, from = '' } = email;
  return resendEmail({ apiKey, url, from, timeoutMs: dispatch.deliveryTimeoutMs });
}
