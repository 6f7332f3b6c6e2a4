ALTER TABLE "outcomes" ADD COLUMN "duration_ms" integer;--> statement-breakpoint
ALTER TABLE "outcomes" ADD COLUMN "http_status" integer;--> statement-breakpoint
ALTER TABLE "outcomes" ADD COLUMN "dispatcher" text;