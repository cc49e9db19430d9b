-- Who may call the API and the pages: keys, portal links and sessions, and the trail of all that. Of every token only
-- the SHA-256 is kept: a token is 256 random bits, so that a slow hash would protect nothing more.

-- +goose Up
CREATE TABLE webhooks.api_keys (
  key_id       uuid        NOT NULL DEFAULT webhooks.uuid_v7(),
  company_id   uuid,
  role         text        NOT NULL,
  name         text        NOT NULL,
  token_hash   bytea       NOT NULL,
  created_by   text        NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at   timestamptz,
  last_used_at timestamptz,
  revoked_at   timestamptz,
  CONSTRAINT api_key_has_one_id PRIMARY KEY (key_id),
  CONSTRAINT api_key_token_is_unique UNIQUE (token_hash),
  CONSTRAINT api_key_token_is_hashed CHECK (octet_length(token_hash) = 32),
  CONSTRAINT api_key_role_is_known CHECK (role IN ('viewer', 'owner', 'operator')),
  CONSTRAINT api_key_without_company_is_an_operators CHECK (company_id IS NOT NULL OR role = 'operator')
);
CREATE INDEX api_key_by_company ON webhooks.api_keys (company_id, key_id);
COMMENT ON TABLE webhooks.api_keys IS 'Who may call the API. A revoked or expired key stays, so that the trail can be read.';
COMMENT ON COLUMN webhooks.api_keys.company_id IS 'The one company that it reaches; NULL reaches every company.';
COMMENT ON COLUMN webhooks.api_keys.expires_at IS 'NULL: only when it is revoked.';
COMMENT ON COLUMN webhooks.api_keys.last_used_at IS 'To the minute, so that a busy key does not write with every request.';

CREATE TABLE webhooks.portal_links (
  link_id    uuid        NOT NULL DEFAULT webhooks.uuid_v7(),
  company_id uuid,
  role       text        NOT NULL,
  person     text        NOT NULL,
  landing    text        NOT NULL,
  token_hash bytea       NOT NULL,
  created_by text        NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at timestamptz NOT NULL,
  used_at    timestamptz,
  revoked_at timestamptz,
  CONSTRAINT portal_link_has_one_id PRIMARY KEY (link_id),
  CONSTRAINT portal_link_token_is_unique UNIQUE (token_hash),
  CONSTRAINT portal_link_token_is_hashed CHECK (octet_length(token_hash) = 32),
  CONSTRAINT portal_link_role_is_known CHECK (role IN ('viewer', 'owner', 'operator')),
  CONSTRAINT portal_link_without_company_is_an_operators CHECK ((company_id IS NULL) = (role = 'operator')),
  CONSTRAINT portal_link_lands_here CHECK (landing ~ '^/([^/\\]|$)')
);
CREATE INDEX portal_link_by_end ON webhooks.portal_links (expires_at);
COMMENT ON TABLE webhooks.portal_links IS 'Single-use links that start a session. Rows go a day after their end; the trail keeps what came of them.';
COMMENT ON COLUMN webhooks.portal_links.person IS 'Who it was made for, as the survey app names them.';
COMMENT ON COLUMN webhooks.portal_links.landing IS 'The page that it leads to: a path here.';

CREATE TABLE webhooks.sessions (
  session_id uuid        NOT NULL DEFAULT webhooks.uuid_v7(),
  company_id uuid,
  role       text        NOT NULL,
  person     text        NOT NULL,
  token_hash bytea       NOT NULL,
  link_id    uuid        NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  idle_limit interval    NOT NULL,
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz,
  CONSTRAINT session_has_one_id PRIMARY KEY (session_id),
  CONSTRAINT session_token_is_unique UNIQUE (token_hash),
  CONSTRAINT session_token_is_hashed CHECK (octet_length(token_hash) = 32),
  CONSTRAINT session_role_is_known CHECK (role IN ('viewer', 'owner', 'operator')),
  CONSTRAINT session_without_company_is_an_operators CHECK ((company_id IS NULL) = (role = 'operator')),
  CONSTRAINT session_begins_with_one_link UNIQUE (link_id)
);
CREATE INDEX session_by_company ON webhooks.sessions (company_id, session_id);
CREATE INDEX session_by_end ON webhooks.sessions (expires_at);
COMMENT ON TABLE webhooks.sessions IS 'Browsers that are signed in. Rows go a day after their end; the trail keeps what came of them.';
COMMENT ON COLUMN webhooks.sessions.link_id IS 'The link that started it; that row may be gone.';
COMMENT ON COLUMN webhooks.sessions.seen_at IS 'To the minute. The session ends idle_limit after it.';
COMMENT ON COLUMN webhooks.sessions.expires_at IS 'The end, however busy it is.';

CREATE TABLE webhooks.access_trail (
  position    bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
  company_id  uuid,
  happened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  action      text        NOT NULL,
  subject_id  uuid        NOT NULL,
  actor       text        NOT NULL,
  detail      jsonb       NOT NULL,
  ip          inet,
  user_agent  text        NOT NULL DEFAULT '',
  CONSTRAINT access_trail_has_one_order PRIMARY KEY (position),
  CONSTRAINT access_trail_action_is_known CHECK (action IN ('key.created', 'key.revoked', 'link.minted', 'link.revoked',
    'session.started', 'session.replaced', 'session.ended', 'session.revoked'))
);
CREATE INDEX access_trail_by_company ON webhooks.access_trail (company_id, position);
COMMENT ON TABLE webhooks.access_trail IS 'Append-only: who made, used and ended which key, link or session. Written by the statement that does it.';
COMMENT ON COLUMN webhooks.access_trail.company_id IS 'NULL: it concerns every company, and operators alone see it.';
COMMENT ON COLUMN webhooks.access_trail.subject_id IS 'The key, link or session.';

-- +goose StatementBegin
CREATE FUNCTION webhooks.refuse_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
  RAISE EXCEPTION 'webhooks.% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION webhooks.refuse_change FROM PUBLIC;
COMMENT ON FUNCTION webhooks.refuse_change IS 'Holds for the owner too, whom no grant binds.';
CREATE TRIGGER access_trail_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhooks.access_trail
  FOR EACH STATEMENT EXECUTE FUNCTION webhooks.refuse_change();

-- Less than what a new table grants by default: keys are never deleted, and the trail is only ever added to.
REVOKE ALL ON webhooks.api_keys, webhooks.portal_links, webhooks.sessions, webhooks.access_trail FROM webhooks_relay;
GRANT SELECT, INSERT, UPDATE ON webhooks.api_keys TO webhooks_relay;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhooks.portal_links, webhooks.sessions TO webhooks_relay;
GRANT SELECT, INSERT ON webhooks.access_trail TO webhooks_relay;

-- +goose Down
DROP TABLE webhooks.access_trail, webhooks.sessions, webhooks.portal_links, webhooks.api_keys;
DROP FUNCTION webhooks.refuse_change;
