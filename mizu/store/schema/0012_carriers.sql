-- Accounts that carry traffic, which the guard reads at the start: few among many.

CREATE INDEX account_carrier ON account (username) WHERE type IN (6, 7, 8, 9, 11);
