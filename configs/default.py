"""Every setting once: its unit, its meaning, and where its value comes from.

The values are the paper's where it gives one ("section" numbers are the paper's, arXiv
1904.06690; .py and .sh names are files of the original code, FeiSun/BERT4Rec).
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0  # of everything random: parameters, order, masks, dropout, negatives

    config.data = ml_collections.ConfigDict()
    config.data.name = "custom"  # ml-1m, ml-20m, beauty, steam download; synthetic is generated
    # A local log file instead of the download, or a folder that --mode=prepare made of a log.
    config.data.path = ""
    config.data.verify = True  # read a prepared log once to check its digests before it is used
    config.data.cache = "~/.cache/bert4rec_jax"  # folder of downloads
    config.data.user_column = ""  # column names of your own log; empty: recognised by their names
    config.data.item_column = ""  # likewise
    config.data.time_column = ""  # likewise; without one, rows are in the order of time
    config.data.min_item_count = 0  # drop items with fewer rows, once, before users
    config.data.min_user_count = 5  # drop users with fewer rows (section 4.1)
    config.data.split = "leave_one_out"  # or global_time: train before data.split_time, test after
    config.data.split_time = 0.0  # in the log's unit of time (dates: microseconds since 1970)
    # Train on the validation item too, as the original does (gen_data_fin.py, 543-546). Then
    # validation is not honest and cannot choose a checkpoint.
    config.data.train_on_valid = False

    config.model = ml_collections.ConfigDict()
    # bert4rec, sasrec, gru4rec, caser, markov or popularity; each reads the settings that it has.
    config.model.name = "bert4rec"
    config.model.max_length = 200  # N, items (section 4.3)
    config.model.hidden = 64  # d (bert_train/*_64.json)
    config.model.layers = 2  # L (section 4.3)
    config.model.heads = 2  # h (section 4.3: head size 32)
    config.model.feed_forward = 4  # inner width over d (section 3.3)
    config.model.dropout = 0.2  # on embeddings and sublayer outputs (ml-1m_64.json)
    config.model.attention_dropout = 0.2  # on attention probabilities (ml-1m_64.json)
    config.model.kernel_init = "bert"  # normal of 0.02 (modeling.py); or xavier, for small d
    # bert4rec: items on either side whose embeddings are added to a position's own; 0: the paper's
    config.model.neighbours = 0
    # bert4rec: a dense layer with GELU before the tied table (equation 7); else LayerNorm alone
    config.model.projection = True
    # bert4rec: what an ablation leaves out (Table 5): positions, feed_forward, layer_norm, residual
    config.model.without = ""
    config.model.dtype = "float32"  # of activations; bfloat16 on accelerators

    config.model.cell = "gru"  # gru4rec: gru or lstm
    config.model.window = 5  # caser: L, the last items that the convolutions see
    config.model.horizontal = 16  # caser: filters of each height 1..L
    config.model.vertical = 4  # caser: filters over time
    config.model.smoothing = 10.0  # markov: the weight of popularity, in transitions

    config.masking = ml_collections.ConfigDict()
    config.masking.proportion = 0.2  # rho, of a window's items (section 4.4)
    config.masking.budget = 40  # most masked items a window (run_ml-1m.sh)
    config.masking.last_only_rate = 1 / 11  # windows masking the last item alone (gen_data_fin.py)
    config.masking.mask_rate = 1.0  # masked items replaced by MASK (run_*.sh; BERT: 0.8)
    config.masking.static_copies = 0  # 10: the original's ten fixed masks a window; 0: always fresh
    # bert4rec: share of rows, to a thousandth, that are read left to right and also ask for every
    # next item (mixture.py); 0: the paper's
    config.masking.left_to_right_rate = 0.0
    config.masking.stride = 100  # items between windows, at most N (run_ml-1m.sh: N / 2)

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.learning_rate = 1e-4  # peak (section 4.3)
    config.optimizer.schedule = "linear"  # decay to 0 at train.steps; or cosine, constant
    config.optimizer.warmup_steps = 100  # linear, from 0 (run_*.sh)
    config.optimizer.weight_decay = 0.01  # decoupled; not on biases and LayerNorm
    config.optimizer.clip_norm = 5.0  # global gradient norm (section 4.3)
    config.optimizer.b1 = 0.9  # decay of the mean of gradients (section 4.3)
    config.optimizer.b2 = 0.999  # decay of the mean of their squares (section 4.3)
    config.optimizer.eps = 1e-6  # optimization.py, 60-66
    config.optimizer.bias_correction = False  # optimization.py, 128-134

    config.train = ml_collections.ConfigDict()
    config.train.steps = 400_000  # updates (run_*.sh)
    config.train.batch_size = 256  # windows an update (section 4.3)
    config.train.packed = True  # windows share rows: same sums, no padding computed
    # softmax: over all items; sampled_softmax or gbce (gSASRec): for large catalogues; bce: against
    # one sampled item (SASRec).
    config.train.loss = "softmax"
    config.train.negatives = 256  # sampled_softmax, gbce: K, items (gSASRec's value)
    config.train.calibration = 0.75  # gbce: t, 0 (plain bce) to 1 (as if against all items)
    config.train.log_every = 50  # steps
    config.train.eval_every = 1000  # steps between validations, each followed by a checkpoint
    config.train.checkpoint_minutes = 5.0  # a checkpoint at least this often
    config.train.patience = 20  # validations without improvement before stopping; 0: never
    # Updates left out since their loss or gradient is not finite; with one more the run stops.
    config.train.max_skipped = 10
    config.train.select_by = "full/NDCG@10"  # PROTOCOL/METRIC on validation that chooses the best

    config.eval = ml_collections.ConfigDict()
    config.eval.protocols = ("popularity_100", "uniform_100", "full")  # also full_with_history
    config.eval.ks = (1, 5, 10)  # cut-offs of HR@k and NDCG@k (section 4.2)
    config.eval.negatives = ""  # a Parquet file of negatives: read if it is there, else written
    config.eval.users = 500_000  # most users judged, drawn evenly from a larger log; 0: all
    config.eval.batch_size = 128  # users at once

    config.mesh = ml_collections.ConfigDict()
    config.mesh.data = 0  # devices that share a batch; 0: all there are over mesh.model
    config.mesh.model = 1  # devices that share the item table; more where one cannot hold it
    return config
