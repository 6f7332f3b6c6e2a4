-- Whoever holds the table for long must not have every request queue up behind this: it fails, and may be run again.
set local lock_timeout = '5s';--> statement-breakpoint
ALTER TABLE "deliveries" ADD COLUMN "message_id" uuid;