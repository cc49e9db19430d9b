package api

const (
	// A few of the oldest with every claim: what a day brings goes within a day, and nothing needs to run beside it.
	forgetKeys = `DELETE FROM webhooks.idempotency_keys
 WHERE (company_id, actor, key) IN (
  SELECT company_id, actor, key FROM webhooks.idempotency_keys
   WHERE created_at < clock_timestamp() - interval '24 hours'
   ORDER BY created_at LIMIT 10 FOR UPDATE SKIP LOCKED)`

	// A row comes back to whoever may do the request now: the first one, the first one after 24 hours, and whoever sends
	// the same request again after the process that had claimed it died. The last one gets the claim_id of the dead.
	claimKey = `INSERT INTO webhooks.idempotency_keys AS k (company_id, actor, key, request_hash, claim_id, claimed_until)
VALUES ($1, $2, $3, $4, $5, clock_timestamp() + interval '1 minute')
ON CONFLICT (company_id, actor, key) DO UPDATE
   SET request_hash = excluded.request_hash, claimed_until = excluded.claimed_until, status = NULL, location = '', body = NULL,
       claim_id = CASE WHEN k.created_at < clock_timestamp() - interval '24 hours' THEN excluded.claim_id ELSE k.claim_id END,
       created_at = CASE WHEN k.created_at < clock_timestamp() - interval '24 hours' THEN excluded.created_at ELSE k.created_at END
 WHERE k.created_at < clock_timestamp() - interval '24 hours'
    OR k.status IS NULL AND k.claimed_until < clock_timestamp() AND k.request_hash = excluded.request_hash
RETURNING k.claim_id`

	readKey = `SELECT request_hash = $4, status, location, body FROM webhooks.idempotency_keys
 WHERE company_id = $1 AND actor = $2 AND key = $3`

	keepAnswer = `UPDATE webhooks.idempotency_keys SET status = $5, location = $6, body = $7
 WHERE company_id = $1 AND actor = $2 AND key = $3 AND claim_id = $4`

	// Nothing was changed: the key is as good as new.
	dropClaim = `DELETE FROM webhooks.idempotency_keys
 WHERE company_id = $1 AND actor = $2 AND key = $3 AND claim_id = $4 AND status IS NULL`

	// Something may have been changed: the same request may be made again, now.
	endClaim = `UPDATE webhooks.idempotency_keys SET claimed_until = '-infinity'
 WHERE company_id = $1 AND actor = $2 AND key = $3 AND claim_id = $4 AND status IS NULL`

	// A row comes back when the quota is not used up.
	takeQuota = `INSERT INTO webhooks.test_quota AS q (company_id, asked_at) VALUES ($1, ARRAY[clock_timestamp()])
ON CONFLICT (company_id) DO UPDATE
   SET asked_at = ARRAY(SELECT t FROM unnest(q.asked_at) t WHERE t > clock_timestamp() - interval '1 minute') || clock_timestamp()
 WHERE (SELECT count(*) FROM unnest(q.asked_at) t WHERE t > clock_timestamp() - interval '1 minute') < $2
RETURNING true`

	// How long until the oldest that counts is a minute old.
	waitForQuota = `SELECT greatest(0, extract(epoch FROM min(t) + interval '1 minute' - clock_timestamp()) * 1000)::bigint
  FROM webhooks.test_quota q, unnest(q.asked_at) t
 WHERE q.company_id = $1 AND t > clock_timestamp() - interval '1 minute'`
)
