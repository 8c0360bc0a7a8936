`caudal topup add` sells octets, hours without a cap or another speed; one key is one purchase, and automatic top-ups never exceed their monthly maximum.
