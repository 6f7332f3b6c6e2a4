type Bindings = { API: Fetcher; DISPATCHER: { sweep(): Promise<void> } };

/** Stands before both Workers in `npm run dev:edge`: wrangler lets a cron trigger be fired at the first Worker alone. */
export default {
  fetch: (request, { API }) => API.fetch(request),
  scheduled: (_, { DISPATCHER }) => DISPATCHER.sweep(),
} satisfies ExportedHandler<Bindings>;
