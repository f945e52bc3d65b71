"""Made-up sentences in batches as Hugging Face has them, and a BERT of two small layers."""

from itertools import product

import lightning
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

SUBJECTS = ("the film", "this book", "our meal", "her song", "the play", "a talk", "his speech", "the whole show")
HOW = ("really", "so", "quite", "rather", "a bit", "too", "very", "truly")
WORDS = ("dull", "great", "poor", "lovely", "slow", "warm", "weak", "clever")  # bad, good, bad, good, …


class Sentences(lightning.LightningDataModule):
    class_names = ("bad", "good")

    def __init__(self, batch_size: int = 32) -> None:
        super().__init__()
        texts = [f"{what} was {how} {word}" for word, what, how in product(WORDS, SUBJECTS, HOW)]
        words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        words.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]"]))
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
        rows = [(text, i // 64 % 2) for i, text in enumerate(texts)]
        parts = {"train": rows[::2], "val": rows[1::4], "test": rows[3::4]}
        for part, own in parts.items():
            loader = DataLoader(own, batch_size, shuffle=part == "train", collate_fn=self.collate)
            setattr(self, f"{part}_dataloader", lambda loader=loader: loader)

    def collate(self, rows: list) -> dict:
        texts, labels = zip(*rows, strict=True)
        return {**self.tokenizer(list(texts), padding=True, return_tensors="pt"), "labels": torch.tensor(labels)}


def bert(width: int) -> BertForSequenceClassification:
    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "vocab_size": 50, "max_position_embeddings": 16}
    return BertForSequenceClassification(BertConfig(num_hidden_layers=2, num_attention_heads=2, num_labels=2, **sizes))
