Prepaid accounts pay by the day or by the period from a wallet; a line whose wallet is empty rests, and a payment lets it in at once.
