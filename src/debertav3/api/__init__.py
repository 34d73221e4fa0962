"""Training from Python: a function beside the command `finetune`, and an estimator for scikit-learn."""
