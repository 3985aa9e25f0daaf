-- Whoever has more rights than an operator is found at once: nobody takes their owners from them.

CREATE INDEX account_operators ON account (rights) WHERE rights > 20;
