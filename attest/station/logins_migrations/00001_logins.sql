-- +goose Up
CREATE TABLE logins (
    unit TEXT NOT NULL,    -- "address 192.0.2.10", "serial X", and "onvif " before them for its own users
    account TEXT NOT NULL, -- HMAC-SHA256 of the user's name under a key of this home
    at INTEGER NOT NULL,   -- when it was offered last, seconds since 1970
    PRIMARY KEY (unit, account)
);

-- +goose Down
DROP TABLE logins;
