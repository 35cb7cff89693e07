-- Holds that have expired and of whose end no event tells are found without reading those that expired in years. See decision record 0016.

-- Whether the event of its expiry is stored. Set in the database transaction that stores the event.
ALTER TABLE hold ADD expiry_told boolean NOT NULL DEFAULT false;
UPDATE hold h SET expiry_told = true
  FROM event_outbox e
 WHERE h.status = 'expired' AND e.tenant = h.tenant AND e.transaction_id = h.hold_id AND e.type = 'casaflow.casa.hold-expired.v1';

CREATE INDEX hold_expiry_untold ON hold (expires_at) WHERE announced AND NOT expiry_told AND status IN ('open', 'expired');
GRANT UPDATE (expiry_told) ON hold TO casaflow_app;
