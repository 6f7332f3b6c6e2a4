ALTER TABLE "deliveries" ADD COLUMN "bytes" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "webhook_endpoints" ADD COLUMN "previous_secrets" jsonb DEFAULT '[]'::jsonb NOT NULL;--> statement-breakpoint
ALTER TABLE "webhook_endpoints" ADD COLUMN "last_failed_at" timestamp (3) with time zone;--> statement-breakpoint
CREATE INDEX "notifications_channel" ON "notifications" USING btree ("channel","id");--> statement-breakpoint
CREATE INDEX "webhook_endpoints_events" ON "webhook_endpoints" USING gin ("events") WITH (fastupdate=false);--> statement-breakpoint
-- What signs too goes on doing so for the rest of its day.
update webhook_endpoints
set previous_secrets = jsonb_build_array(jsonb_build_object('secret', previous_secret, 'until', previous_secret_until))
where previous_secret is not null and previous_secret_until > now();
--> statement-breakpoint
-- A pause began at the last failure, and its length follows from the number of failures. Any other run of failures is
-- too short to tell: its next failure begins a new one.
update webhook_endpoints
set last_failed_at = paused_until - least(
  interval '1 hour', interval '30 seconds' * 2 ^ least(12, greatest(0, failures - 10) / 4)
)
where status = 'paused';
--> statement-breakpoint
update deliveries d set bytes = octet_length(m.body)
from notifications n join messages m on m.id = n.message_id where n.id = d.notification_id;
