DROP INDEX "deliveries_due";--> statement-breakpoint
CREATE INDEX "deliveries_lane" ON "deliveries" USING btree (coalesce("endpoint_id", 'ffffffff-ffff-ffff-ffff-ffffffffffff'),"due_at");