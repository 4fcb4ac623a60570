"""Networks and the device they run on; shared by training and prediction."""
