-- Whoever holds a table for long must not have every request queue up behind this: it fails, and may be run again.
set local lock_timeout = '5s';--> statement-breakpoint
CREATE TABLE "actions" (
	"id" uuid PRIMARY KEY DEFAULT uuid_v7() NOT NULL,
	"action" text NOT NULL,
	"sub" text NOT NULL,
	"target_id" uuid,
	"filter" json,
	"status" text DEFAULT 'finished' NOT NULL,
	"matching" integer DEFAULT 1 NOT NULL,
	"done" integer DEFAULT 1 NOT NULL,
	"cursor" uuid DEFAULT '00000000-0000-0000-0000-000000000000' NOT NULL,
	"created_at" timestamp(3) with time zone DEFAULT now() NOT NULL,
	"finished_at" timestamp(3) with time zone DEFAULT now()
);
--> statement-breakpoint
CREATE TABLE "delivery_stats" (
	"minute" timestamp(3) with time zone NOT NULL,
	"dispatcher" text NOT NULL,
	"outcome" text NOT NULL,
	"bucket" smallint NOT NULL,
	"count" integer NOT NULL,
	"firsts" integer NOT NULL,
	"wait_ms" bigint NOT NULL,
	"run_ms" bigint NOT NULL,
	CONSTRAINT "delivery_stats_minute_dispatcher_outcome_bucket_pk" PRIMARY KEY("minute","dispatcher","outcome","bucket")
-- Its rows are written again and again within a minute: room for new versions on the same page.
) WITH (fillfactor = 50);
--> statement-breakpoint
CREATE TABLE "dispatchers" (
	"id" text PRIMARY KEY NOT NULL,
	"last_seen" timestamp(3) with time zone NOT NULL,
	"every_ms" integer NOT NULL
);
--> statement-breakpoint
ALTER TABLE "deliveries" ADD COLUMN "queued_at" timestamp with time zone DEFAULT now() NOT NULL;--> statement-breakpoint
CREATE INDEX "actions_running" ON "actions" USING btree ("id") WHERE "actions"."status" = 'running';--> statement-breakpoint
CREATE INDEX "notifications_endpoint" ON "notifications" USING btree ("endpoint_id","id") WHERE "notifications"."endpoint_id" is not null;--> statement-breakpoint
CREATE INDEX "webhook_endpoints_not_enabled" ON "webhook_endpoints" USING btree ("status") WHERE "webhook_endpoints"."status" <> 'enabled';