`caudal line block`, `unblock`, `override` and `release` change an open line without waiting for its next login.
