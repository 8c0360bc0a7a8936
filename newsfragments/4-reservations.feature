`caudal wallet` keeps a part of a wallet for something under way and charges it.
