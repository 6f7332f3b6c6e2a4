import { bodyLimit } from 'hono/body-limit';
import { createMiddleware } from 'hono/factory';
import { AppError } from '../errors.ts';
import type { Env } from './context.ts';

/** Refuses a body over `bodyLimitBytes`, told by its Content-Length or, without one, as it is read. */
export const limitedBody = createMiddleware<Env>((c, next) => {
  const maxSize = c.env.settings.bodyLimitBytes;
  const onError = () => {
    throw new AppError('content-too-large', `The body is larger than ${maxSize} bytes.`);
  };
  return bodyLimit({ maxSize, onError })(c, next);
});
