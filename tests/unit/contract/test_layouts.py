"""Data sets as people have them, by names and structure: the right splits and classes, or the folder to give."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc_vision.contract.dataset import Layout, read_channels
from byoc_vision.contract.errors import DataError
from byoc_vision.contract.folders import path, text


def expanded(spec: str) -> Iterator[str]:
    """Yield what a shell makes of a text with {braces,of,alternatives}."""
    found = re.search(r"\{([^{}]*)\}", spec)
    if found is None:
        yield spec
        return
    for choice in found[1].split(","):
        yield from expanded(spec[: found.start()] + choice + spec[found.end() :])


def make(root: Path, tree: str) -> Path:
    """Make files as the lines of `tree` say: `cat/3` is three pictures in `cat`, `cat/` an empty folder."""
    for line in filter(None, map(str.strip, tree.split("\n"))):
        for file in expanded(line):
            folder, _, name = file.rpartition("/")
            (root / folder).mkdir(parents=True, exist_ok=True)
            for each in [f"{i}.jpg" for i in range(int(name))] if name.isdecimal() else filter(None, [name]):
                (root / folder / each).touch()
    return root


def shown(layout: Layout) -> str:
    return " | ".join(f"{split}: {' '.join(classes)}" for split, classes in layout.splits.items())


PETS = "train: cat dog"
BOTH = f"{PETS} | validation: cat dog"
ALL = f"{BOTH} | test: cat dog"
TESTED = f"{PETS} | test: cat dog"

#: Name, tree, splits with their classes, and what the log says (a pattern).
READ = [
    # Split folders by any case and usual ending.
    ("lower case", "{train,val,test}/{cat,dog}/2", ALL, ""),
    ("valid", "{train,valid,test}/{cat,dog}/2", ALL, ""),
    ("validation", "{train,validation,test}/{cat,dog}/2", ALL, ""),
    ("validate", "{Train,Validate,Test}/{cat,dog}/2", ALL, ""),
    ("first letter", "{Train,Test}/{cat,dog}/2", TESTED, ""),
    ("upper case", "{TRAIN,VALID,TEST}/{cat,dog}/2", ALL, ""),
    ("gerunds", "{Training,Testing}/{cat,dog}/2", TESTED, ""),
    ("set", "{train_set,test_set}/{cat,dog}/2", TESTED, ""),
    ("training_set", "{training_set,validation_set,test_set}/{cat,dog}/2", ALL, ""),
    ("one word", "{trainset,valset,testset}/{cat,dog}/2", ALL, ""),
    ("one word, upper case", "{TRAINSET,TESTSET}/{cat,dog}/2", TESTED, ""),
    ("any case", "{TrAiN,vALiD,TeSt}/{cat,dog}/2", ALL, ""),
    ("a word's end in lower case", "{TRAINset,TESTset}/{cat,dog}/2", TESTED, ""),
    ("without vowels", "{trn,vld,tst}/{cat,dog}/2", ALL, ""),
    ("camel case", "{TrainSet,ValSet,TestSet}/{cat,dog}/2", ALL, ""),
    ("images", "{train-images,test-images}/{cat,dog}/2", TESTED, ""),
    ("images first", "{images_train,images_val}/{cat,dog}/2", BOTH, ""),
    ("data", "{training_data,validation_data,testing_data}/{cat,dog}/2", ALL, ""),
    ("spaces", "{Training Data,Test Data}/{cat,dog}/2", TESTED, ""),
    ("dev", "{train,dev,test}/{cat,dog}/2", ALL, ""),
    ("eval is the test", "{train,eval}/{cat,dog}/2", TESTED, ""),
    ("eval beside a test", "{train,eval,test}/{cat,dog}/2", ALL, ""),
    ("eval beside all three", "{train,val,test,eval}/{cat,dog}/2", ALL, r"not used: .*eval \(4 files\)"),
    ("holdout is the test", "{Train,Valid,Holdout}/{cat,dog}/2", ALL, ""),
    ("holdout beside a test", "{train,test,holdout}/{cat,dog}/2", ALL, ""),
    ("evaluation beside validation", "{training,validation,evaluation}/{cat,dog}/2", ALL, ""),
    ("numbered", "{01_train,02_val,03_test}/{cat,dog}/2", ALL, ""),
    ("years", "{train2017,val2017}/{cat,dog}/2", BOTH, ""),
    ("test1", "{train,test1}/{cat,dog}/2", TESTED, ""),
    ("a common word before", "{pets_train,pets_test}/{cat,dog}/2", TESTED, ""),
    ("a common word after", "{train_pets,val_pets,test_pets}/{cat,dog}/2", ALL, ""),
    ("final", "{Final_Training,Final_Test}/Images/{cat,dog}/2", TESTED, ""),
    ("a split and its half", "{train,train_mini,val}/{cat,dog}/2", BOTH, r"not used: .*train_mini \(4 files\)"),
    ("two, one is bare", "{train,train2,val}/{cat,dog}/2", BOTH, r"not used: .*train2"),
    ("only train", "train/{cat,dog}/2", PETS, ""),
    ("train and test", "{train,test}/{cat,dog}/2", TESTED, ""),
    ("extra beside splits", "{train,test,extra}/{cat,dog}/2", TESTED, "not used: .*extra"),
    ("same folders, one is train", "{train,more}/{cat,dog}/2", PETS, "not used: .*more"),
    ("validation lacks a class", "train/{cat,dog}/2\nval/cat/2", f"{PETS} | validation: cat", ""),
    # Classes alone, whatever they are called.
    ("classes", "{cat,dog}/2", PETS, ""),
    ("a class train", "{bus,car,train}/2", "train: bus car train", "train is taken for a class"),
    ("a class test", "{control,test}/2", "train: control test", "test is taken for a class"),
    (
        "classes train and test among many",
        "{bus,car,ship,plane,train,test}/2",
        "train: bus car plane ship test train",
        "test, train|train is taken",
    ),
    (
        "a class train in the splits",
        "{train,test}/{bus,car,train}/2",
        "train: bus car train | test: bus car train",
        "train is taken for a class",
    ),
    (
        "a class test in the splits",
        "{train,val}/{control,test}/2",
        "train: control test | validation: control test",
        "test is taken for a class",
    ),
    ("stations", "{train_station,bus_station}/2", "train: bus_station train_station", ""),
    ("masks", "{mask,no_mask}/2", "train: mask no_mask", ""),
    ("photos and drawings", "{photos,drawings}/2", "train: drawings photos", ""),
    ("numbered classes", "{1,2,10}/2", "train: 1 10 2", ""),
    ("class numbers in names", "{class_1,class_2}/2", "train: class_1 class_2", ""),
    ("nested classes", "cat/{old,2}/2\ncat/2\ndog/2", PETS, "count as the class's: cat/2, cat/old"),
    ("parts of some classes", "{cat/{kitten,old},dog/{puppy,old},owl}/2", "train: cat dog owl", "count as the class's"),
    ("a folder images in each class", "{train,val}/{cat,dog}/images/2", BOTH, "count as the class's"),
    ("other scripts", "{犬,Çã,Hund mit Hut}/2", "train: Hund mit Hut Çã 犬", ""),
    ("tables with names", "{cat,dog}/2\nlabels.csv", PETS, r"1 file that is no picture \(labels.csv\)"),
    ("endings of any case, and none", "cat/{a.JPG,b.JPEG,c}\ndog/{a.tiff,b.webp}", PETS, ""),
    (
        "splits in another language beside train",
        "{train,test,prueba,验证}/{cat,dog}/2",
        TESTED,
        r"not used: .*prueba \(4 files\).*验证",
    ),
    ("dates", "{train-2021-03-01,test-2021-04-01}/{cat,dog}/2", TESTED, ""),
    ("copies of a desktop", "{train (1),test (1)}/{cat,dog}/2", TESTED, ""),
    (
        "a copy beside the split",
        "{train,train (1),train - Copy,test}/{cat,dog}/2",
        TESTED,
        r"not used: .*train \(1\) \(4 files\), .*Copy",
    ),
    ("shares", "{train_80,val10,test10}/{cat,dog}/2", ALL, ""),
    (
        "an archive twice unpacked",
        "a (1)/set/set/{train,test}/{cat,dog}/2\n{a (1).zip,a (1)/__MACOSX/._b}",
        TESTED,
        "a.*zip",
    ),
    ("pictures without labels", "{train,test}/{cat,dog}/2\nunlabeled/5", TESTED, r"unlabeled \(5 files\)"),
    ("a background", "{_background_,cat}/2", "train: _background_ cat", ""),
    ("hidden classes", "{.owl,cat,dog}/2", PETS, "left out: 1 entry"),
    ("folders with a picture's ending", "{cat.jpg,dog.png}/{a.jpg/2,1}", "train: cat.jpg dog.png", "cat.jpg/a.jpg"),
    ("one stem, many endings", "{cat,dog}/{a,a.jpg,a.JPG,a.png}", PETS, ""),
    ("dashes and quotes", """{--help,-rf,"x",'y',$(z)}/2""", """train: "x" $(z) 'y' --help -rf""", ""),
    ("emoji", "{🐈,🐕\u200d🦺}/2", "train: 🐈 🐕\u200d🦺", ""),
    (
        "names that look alike",
        "{Cat,cat,dog}/2",
        "train: Cat cat dog",
        "'Cat' and 'cat' have names that differ only in case",
    ),
    ("numbers with and without zeros", "{1,01,2,10}/2", "train: 01 1 10 2", "'01' and '1' have names that differ only"),
    ("fractions", "{1.5,1.05,0.5}/2", "train: 0.5 1.05 1.5", ""),
    ("hyphens", "{t-shirt,t_shirt}/2", "train: t-shirt t_shirt", "differ only in case, blanks"),
    ("scripts from right to left", "{train,test}/{قطة,כלב}/2", "train: כלב قطة | test: כלב قطة", ""),
    ("names that Windows has not", "{CON,a|b,cat.,dog?,x:y}/2", "train: CON a|b cat. dog? x:y", ""),
    ("accents of two kinds", "{caf\u00e9,cafe\u0301}/2", "train: cafe\u0301 caf\u00e9", "differ only in .*accents"),
    ("masks in each class", "{cat,dog}/{images,masks}/2", PETS, r"not used: set/cat/masks \(2 files\), set/dog/masks"),
    ("masks in a folder beside a class's pictures", "{cat,dog}/{2,masks/2}", PETS, "not used: set/cat/masks"),
    (
        "masks beside pictures",
        "{cat,dog}/{a.png,a_mask.png,a_mask_1.png}",
        PETS,
        r"4 files named as masks .*a_mask",
    ),
    (
        "other things made from pictures",
        "{cat,dog}/{a.png,a_seg.png,a_label.png,a-thumb.png}",
        PETS,
        r"6 files named as masks .*a-thumb",
    ),
    ("masks that are classes", "{mask,no_mask}/{0_mask.jpg,1.jpg}", "train: mask no_mask", ""),
    ("a split in the training split", "train/{cat,dog,val/{cat,dog}}/2", PETS, r"not used: set/train/val \(4 files\)"),
    ("more of the classes beside them", "{cat,dog,old/{cat,dog,owl}}/2", PETS, r"not used: set/old \(6 files\)"),
    # Folders around and beside.
    ("one folder around", "pets/{cat,dog}/2", PETS, ""),
    ("a folder output around", "output/{train,val,test}/{cat,dog}/2\nlabels.csv", ALL, "labels.csv"),
    ("many folders around", "a/b/c/{train,val}/{cat,dog}/2", BOTH, ""),
    ("twice the same", "data/data/{train,val}/{cat,dog}/2", BOTH, ""),
    ("around each split", "seg_{train/seg_train,test/seg_test}/{cat,dog}/2", TESTED, ""),
    ("documents beside", "{train,val}/{cat,dog}/2\ndocs/{a.md,b.png}", BOTH, r"not used: .*docs \(1 file\)"),
    ("documents beside classes", "{cat,dog}/2\ndocs/a.png", PETS, "not used: .*docs"),
    ("notes beside images", "images/{cat,dog}/2\nannotations/{cat,dog}/{0.xml,0.png}", PETS, "not used: .*annotations"),
    ("masks beside images", "{images,masks}/{cat,dog}/2", PETS, "not used: .*masks"),
    ("masks beside a set", "pets/{train,val}/{cat,dog}/2\nmasks/{train,val}/{cat,dog}/2", BOTH, "set/masks"),
    ("masks beside classes, loose", "{cat,dog,masks}/2", "train: cat dog masks", "masks is taken for a class; remove"),
    ("boxes beside images", "{images,bounding_boxes}/{cat,dog}/2", PETS, "not used: .*bounding_boxes"),
    ("pictures beside classes", "{cat,dog}/2\n3", PETS, "not used: 3 files beside the folders"),
    ("pictures beside splits", "{train,val}/{cat,dog}/2\n1", BOTH, "not used: 1 file beside the folders"),
    ("pictures beside the classes of a split", "{train,val}/{cat,dog}/2\nval/1", BOTH, "not used: 1 file beside .*val"),
    ("a folder images beside classes", "{cat,dog}/2\nimages/2", PETS, "not used: .*images"),
    ("loose validation", "train/{cat,dog}/2\nval/3", PETS, r"not used: .*val \(3 files\)"),
    ("loose test", "{train,val}/{cat,dog}/2\ntest/3", BOTH, r"not used: .*test \(3 files\)"),
    ("loose test in a folder", "{train,val}/{cat,dog}/2\ntest/test/3", BOTH, "not used: .*test"),
    ("predictions beside", "{train,test}/{cat,dog}/2\nsingle_prediction/2", TESTED, "not used: .*single_prediction"),
    ("a set beside its splits", "{,pets/}{train,test}/{cat,dog}/2", TESTED, "not used: .*pets"),
    # Litter.
    ("macOS", "{train,val}/{cat,dog}/{0.jpg,._0.jpg,.DS_Store}\n__MACOSX/train/cat/2", BOTH, "left out: 9 entries"),
    ("Windows", "{cat,dog}/{0.jpg,Thumbs.db,desktop.ini}", PETS, "left out: 4 entries"),
    ("Synology", "{cat,dog}/{0.jpg,@eaDir/0.jpg/SYNOPHOTO_THUMB_M.jpg}\n#recycle/2", PETS, "left out: 3 entries"),
    ("a volume", "{cat,dog}/2\nlost+found/\n.Trash-1000/2", PETS, "left out: 2 entries"),
    (
        "notebooks",
        "{cat,dog}/{0.jpg,.ipynb_checkpoints/0-checkpoint.jpg}\na.ipynb",
        PETS,
        "left out: 1 file .*2 entries",
    ),
    ("an archive left in", "{cat,dog}/2\npets.zip", PETS, "pets.zip"),
    ("films and texts", "{cat,dog}/{0.jpg,a.mov,readme.txt,0.xml}", PETS, "left out: 6 files that are no picture"),
    ("an iPhone's export", "{cat,dog}/{0.HEIC,0.MOV,0.AAE}", PETS, "left out: 4 files that are no picture"),
    (
        "programs",
        "{cat,dog}/2\n{venv,node_modules}/lib/a.png\nruns/{1.pt,events.out.tfevents.17.host}\noutput/{a.png,b.pt}",
        PETS,
        r"not used: set/output \(1 file\), set/runs \(no picture\)\nleft out: 3 files .* and 2 entries",
    ),
    (
        "data version control",
        ".dvc/cache/a\npets/{cat,dog}/2\n{pets.dvc,README.md}",
        PETS,
        "left out: 2 files .*1 entry",
    ),
    ("folders of S3", "{cat,dog}/{a.jpg,_$folder$}\n{cat,dog}_$folder$", PETS, "left out: 4 entries"),
    ("downloads under way", "{cat,dog}/{0.jpg,1.jpg.part,2.jpg~}", PETS, "left out: 4 entries"),
    # Public sets.
    (
        "dogImages",
        "dogImages/{train,valid,test}/{001.cat,002.dog}/2",
        ALL.replace("cat", "001.cat").replace("dog", "002.dog"),
        "",
    ),
    (
        "Kaggle's cats and dogs",
        "PetImages/{Cat,Dog}/{0.jpg,Thumbs.db}\nreadme[1].txt\nMSR-LA.docx",
        "train: Cat Dog",
        "MSR-LA.docx",
    ),
    (
        "cats_and_dogs_filtered",
        "cats_and_dogs_filtered/{train,validation}/{cats,dogs}/2\ncats_and_dogs_filtered/vectorize.py",
        "train: cats dogs | validation: cats dogs",
        "vectorize.py",
    ),
    (
        "cats and dogs of a course",
        "dataset/{training_set,test_set}/{cats,dogs}/2\ndataset/single_prediction/2",
        "train: cats dogs | test: cats dogs",
        "single_prediction",
    ),
    ("cats_set", "{cats_set,dogs_set}/2", "train: cats_set dogs_set", ""),
    (
        "Stanford Dogs",
        "Images/{n02085620-Chihuahua,n02085782-Japanese}/2\nAnnotation/{n02085620-Chihuahua,n02085782-Japanese}/"
        "n0_1\nlists/{a.mat,b.mat}",
        "train: n02085620-Chihuahua n02085782-Japanese",
        "not used: .*Annotation.*lists",
    ),
    (
        "CUB",
        "CUB_200_2011/{images/{001.Albatross,002.Auklet}/2,attributes/a.txt,parts/parts.txt,images.txt}",
        "train: 001.Albatross 002.Auklet",
        "not used: .*attributes.*parts",
    ),
    (
        "CUB with its segmentations",
        "CUB_200_2011/images/{001.Albatross,002.Auklet}/2\nsegmentations/{001.Albatross,002.Auklet}/2\nattributes.txt",
        "train: 001.Albatross 002.Auklet",
        r"not used: set/segmentations \(4 files\)",
    ),
    (
        "Food-101",
        "food-101/{images/{apple_pie,waffles}/2,meta/{train.json,test.txt},README.txt}",
        "train: apple_pie waffles",
        "meta",
    ),
    (
        "Caltech-101",
        "caltech-101/{101_ObjectCategories/{BACKGROUND_Google,ant}/2,Annotations/ant/a.mat,show.m}",
        "train: BACKGROUND_Google ant",
        "Annotations",
    ),
    ("Caltech-256", "256_ObjectCategories/{001.ak47/2,056.dog/2,056.dog/greg/2}", "train: 001.ak47 056.dog", "greg"),
    (
        "flowers",
        "flower_data/{train,valid,test}/{1,2}/2\ncat_to_name.json",
        "train: 1 2 | validation: 1 2 | test: 1 2",
        "cat_to_name.json",
    ),
    (
        "TensorFlow's flowers",
        "flower_photos/{daisy,roses}/2\nflower_photos/LICENSE.txt",
        "train: daisy roses",
        "LICENSE",
    ),
    (
        "Intel's scenes",
        "{seg_train/seg_train,seg_test/seg_test}/{sea,street}/2\nseg_pred/seg_pred/2",
        "train: sea street | test: sea street",
        "seg_pred",
    ),
    (
        "chest X-rays",
        "chest_xray/{,chest_xray/}{train,val,test}/{NORMAL,PNEUMONIA}/2\nchest_xray/__MACOSX/2",
        "train: NORMAL PNEUMONIA | validation: NORMAL PNEUMONIA | test: NORMAL PNEUMONIA",
        "not used: .*chest_xray",
    ),
    (
        "CIFAR-10 as folders",
        "cifar10/{train,test}/{airplane,ship}/2\ncifar10/labels.txt",
        "train: airplane ship | test: airplane ship",
        "labels.txt",
    ),
    (
        "CIFAR-100 with its superclasses",
        "{train,test}/{fish/ray,trees/oak}/2",
        "train: fish trees | test: fish trees",
        "fish/ray, trees/oak",
    ),
    ("MNIST as pictures", "mnist_png/{training,testing}/{0,1}/2", "train: 0 1 | test: 0 1", ""),
    (
        "flowers, twice unpacked",
        "flowers/{,flowers/}{daisy,rose}/2",
        "train: daisy rose",
        "not used: .*flowers/flowers",
    ),
    (
        "COVID-19 radiographs",
        "COVID-19_Radiography_Dataset/{{COVID,Normal}/{images,masks}/2,COVID.metadata.xlsx}",
        "train: COVID Normal",
        "not used: .*COVID/masks .*Normal/masks",
    ),
    (
        "ultrasound with masks",
        "Dataset_BUSI_with_GT/{benign,normal}/{a (1).png,a (1)_mask.png,a (1)_mask_1.png}",
        "train: benign normal",
        r"used as pictures: 4 files named as masks .*\(a \(1\)_mask.png\)",
    ),
    ("EuroSAT", "2750/{Forest,River}/2", "train: Forest River", ""),
    ("EuroSAT with tables", "EuroSAT/{{Forest,River}/2,train.csv,label_map.json}", "train: Forest River", "train.csv"),
    (
        "ImageNet",
        "ILSVRC/{Data/CLS-LOC/{train/{n01440764,n01443537}/2,val/2,test/2},Annotations/CLS-LOC/{train/n01440764/0.xml,"
        "val/0.xml},ImageSets/CLS-LOC/val.txt}",
        "train: n01440764 n01443537",
        "not used: .*Annotations.*test.*val",
    ),
    (
        "ImageNet, its devkit and archives beside it",
        "ILSVRC2012_devkit_t12/{data/meta.mat,COPYING}\nILSVRC2012_img_{train/{n01440764,n01443537},val}/2\n"
        "ILSVRC2012_img_test.tar",
        "train: n01440764 n01443537",
        r"not used: .*devkit_t12 \(no picture\), .*img_val \(2 files\)\nleft out: 3 files",
    ),
    (
        "ImageNet, sorted",
        "imagenet/{train,val}/{n01440764,n01443537}/2",
        "train: n01440764 n01443537 | validation: n01440764 n01443537",
        "",
    ),
    (
        "Imagenette",
        "imagenette2-160/{train,val}/{n01440764,n02102040}/2\nimagenette2-160/noisy_imagenette.csv",
        "train: n01440764 n02102040 | validation: n01440764 n02102040",
        "noisy_imagenette.csv",
    ),
    (
        "Tiny ImageNet",
        "tiny-imagenet-200/{train/{n01443537,n01629819}/{images/2,boxes.txt},val/{images/2,val_annotations.txt},"
        "test/images/2,wnids.txt}",
        "train: n01443537 n01629819",
        "not used: .*test.*val",
    ),
    (
        "Places365",
        "places365_standard/{train,val}/{airfield,alley}/2",
        "train: airfield alley | validation: airfield alley",
        "",
    ),
    ("Places by letter", "data_large/{a/{abbey,alley},b/bakery}/2", "train: a b", "a/abbey"),
    ("iNaturalist", "train_val2019/{Birds/{12,13},Fungi/{40,41}}/2", "train: Birds Fungi", "Birds/12"),
    (
        "iNaturalist 2021",
        "{train,train_mini,val}/{00001_Animalia,00002_Plantae}/2\npublic_test/2",
        "train: 00001_Animalia 00002_Plantae | validation: 00001_Animalia 00002_Plantae",
        "public_test.*train_mini",
    ),
    (
        "Food-11",
        "{training,validation,evaluation}/{Bread,Egg}/2",
        "train: Bread Egg | validation: Bread Egg | test: Bread Egg",
        "",
    ),
    (
        "INRIA's pedestrians",
        "INRIAPerson/{Train,Test,70X134H96}/{pos,neg,annotations}/2",
        "train: neg pos | test: neg pos",
        "not used: .*70X134H96 .*Test/annotations .*Train/annotations",
    ),
    (
        "malaria, twice unpacked",
        "cell_images/{,cell_images/}{Parasitized,Uninfected}/{0.png,Thumbs.db}",
        "train: Parasitized Uninfected",
        "not used: .*cell_images/cell_images",
    ),
    (
        "as Roboflow exports it",
        "Pets.v1i.folder/{{train,valid,test}/{cat,dog}/2,README.dataset.txt}",
        ALL,
        "README.dataset.txt",
    ),
    ("hymenoptera", "hymenoptera_data/{train,val}/{ants,bees}/2", "train: ants bees | validation: ants bees", ""),
    ("GTSRB", "{Train/{0,1},Test,Meta}/2\n{Train,Test,Meta}.csv", "train: 0 1", "not used: .*Meta.*Test"),
    (
        "Fruits-360",
        "fruits-360/{Training,Test}/{Apple 1,Banana}/2\nfruits-360/{test-multiple_fruits/2,papers/a.pdf}",
        "train: Apple 1 Banana | test: Apple 1 Banana",
        "test-multiple_fruits",
    ),
    (
        "ASL alphabet",
        "asl_alphabet_{train/asl_alphabet_train/{A,B}/2,test/asl_alphabet_test/{A_test.jpg,B_test.jpg}}",
        "train: A B",
        "asl_alphabet_test",
    ),
    (
        "textures",
        "dtd/{images/{banded,dotted}/2,imdb/imdb.mat,labels/train1.txt}",
        "train: banded dotted",
        "not used: .*imdb.*labels",
    ),
    ("TrashNet", "dataset-resized/{glass,metal}/2\n__MACOSX/dataset-resized/2", "train: glass metal", "1 entry"),
    ("LFW", "lfw/{Aaron_Eckhart,Zico}/1", "train: Aaron_Eckhart Zico", ""),
    ("PACS, one domain", "photo/{dog,horse}/2", "train: dog horse", ""),
    ("a Kaggle competition", "train/{cat,dog}/2\ntest/3\nsample_submission.csv", PETS, r"test \(3 files\)"),
]

#: Name, tree, and what the sentence says; `/` begins at the folder given.
REFUSED = [
    ("nothing", "", r"0 class folder"),
    ("only litter", "._a.jpg\nThumbs.db", r"0 class folder"),
    ("only an archive", "pets.zip", r"0 class folder\(s\), and no picture, but 1 other file \(pets.zip; unpack"),
    ("arrays", "{x,y}.npy", r"no picture, but 2 other files \(x.npy; write each picture in it to a file of its own\)"),
    ("a table of Hugging Face", "data/train-00000-of-00001.parquet\nREADME.md", r"parquet; write each picture in it"),
    ("records in parts", "flowers.tfrecord-0000{0,1}-of-00002", r"flowers.tfrecord-00000-of-00002; write each picture"),
    ("CIFAR's binary version", "cifar-10-batches-bin/{data_batch_1,test_batch}.bin", r"data_batch_1.bin; write each"),
    ("films of each class", "{run,walk}/{a.mp4,b.avi}", r"4 other files \(a.mp4; save frames of it as pictures\)"),
    ("pointers of DVC", "{cat,dog}.dvc", r"2 other files \(cat.dvc; run dvc pull\)"),
    ("texts of each class", "{pos,neg}/{0,1}.txt", r"4 other files \(0.txt\); put the pictures"),
    ("a manifest", "output.manifest", r"0 class folder\(s\), and no picture, but 1 other file \(output.manifest\)"),
    ("one folder and a table", "faces/3\nlist_attr.csv", r"1 class folder\(s\), faces \(what list_attr.csv says"),
    ("notes of who made it", "{train,valid}/{0.jpg,_classes.csv}\nREADME.roboflow.txt", r"what _classes.csv says of"),
    ("a sample of answers", "{train,test}/2\n{labels,sample_submission}.csv", r"what labels.csv says of"),
    ("classes by what they wear", "{mask,bare}/{adult,child}/2", r"give /bare or /mask if those are the classes"),
    ("one class", "cat/2", r"1 class folder"),
    ("one class around folders", "cat/{a,b}/2\n3", r"1 class folder.*give /cat if its folders"),
    ("the class folder instead of the set", "3", r"^/ holds pictures without class folders.*give the folder above"),
    ("archives of classes", "{cat,dog}.zip", r"no picture, but 2 other files \(cat.zip; unpack"),
    ("archives of ImageNet", "train/{n01440764,n01443537}.tar\nval.tar", r"3 other files \(val.tar; unpack"),
    ("years around the classes", "{2019,2020,2021}/{cat,dog}/3", r"give /2019 or /2020 if those are the classes"),
    ("years in the splits", "{train,val}/{2019,2020}/{cat,dog}/3", r"give /train/2019 or /train/2020 if those"),
    ("years in the classes", "{cat,dog}/{2019,2020}/3", r"put the pictures of each class into its folder directly"),
    (
        "names that an archive of Windows left",
        "train\\cat\\0.jpg\nval\\cat\\0.jpg",
        r"^/ holds .* \(train.cat.0.jpg is a path of Windows",
    ),
    (
        "places beside lists",
        "images/9\n{train,val,test}.csv",
        r"/images holds .*\(what train.csv says of them is not read",
    ),
    ("a table in each split", "{train,valid}/{0.jpg,_classes.csv}", r"/train holds .*\(what _classes.csv says"),
    ("zeros before the test's numbers", "train/{1,2}/2\ntest/{01,02}/2", r"'01' and the training split '1', names"),
    ("training and validation in one", "{trainval,test}/{cat,dog}/2", r"no folder for training; name one train"),
    ("no pictures of the training split", "train/\ntest/{cat,dog}/2", r"no folder for training"),
    ("domains", "{amazon,dslr,webcam}/images/{bag,bike}/2", r"give /amazon or /dslr if those are the classes"),
    (
        "a set beside its test set, each twice in itself",
        "simpsons_dataset/{,simpsons_dataset/}{abraham,bart}/2\nkaggle_simpson_testset/kaggle_simpson_testset/2",
        r"not clear whether simpsons_dataset is a class; give /simpsons_dataset to train",
    ),
    ("a set beside screenshots", "pets/{cat,dog}/2\nscreens/2", r"not clear whether pets is a class; give /pets"),
    ("a class without pictures", "{cat,dog}/2\nred/", r"/red holds no picture"),
    (
        "a class whose name says notes",
        "{doc,receipt}/2",
        r"1 class folder\(s\), receipt \(doc is none by name; rename what is a",
    ),
    ("hidden classes alone", ".data/{cat,dog}/2", r"0 class folder\(s\) \(.data is none by name"),
    ("folds of the training split", "train/fold_{0,1}/{cat,dog}/2", r"or give /train/fold_0 to train on that alone"),
    ("a class that is not trained on", "train/{cat,dog}/2\nval/{cat,cow}/2", r"validation split has the class 'cow'"),
    (
        "a table of names, too",
        "train/2\n{a-descriptions,train-image-labels}.csv",
        r"what train-image-labels.csv says of",
    ),
    ("pictures and a table", "2\nlabels.csv", r"without class folders \(what labels.csv says of them is not read\)"),
    (
        "folders of pictures and tables",
        "{train,test}/2\n{train,test}.csv",
        r"/train holds pictures without class folders",
    ),
    ("Kaggle's dogs vs. cats", "train/{cat.0.jpg,dog.0.jpg}\ntest1/2", r"/train holds pictures without class folders"),
    ("train and test and extra", "{train,test,extra}/2", r"/train holds pictures without class folders"),
    ("APTOS", "{train_images,test_images}/2\ntrain.csv", r"/train_images holds pictures without class folders"),
    ("cars", "{cars_train,cars_test,devkit}/2", r"/cars_train holds pictures without class folders"),
    ("only train, loose", "train/2\nlabels.csv", r"/train holds pictures without class folders"),
    ("train loose, test with classes", "train/2\ntest/{cat,dog}/2", r"/train holds pictures without class folders"),
    ("no training split", "{val,test}/{cat,dog}/2", r"no folder for training; .*give /val"),
    ("only test", "test/{cat,dog}/2\nlearn/{cat,dog}/2", r"no folder for training"),
    ("two training splits", "{train,Training}/{cat,dog}/2", r"Training, train in / are all the train split"),
    ("numbered training splits", "{train1,train2,val}/{cat,dog}/2", r"train1, train2 in / are all the train split"),
    ("plant diseases in three colours", "plants/{color,grayscale,segmented}/{a,b,c}/2", r"give /plants/color or"),
    (
        "splits of no name",
        "{first,second}/{cat,dog}/2",
        r"folders of the same names \(cat, dog\); give /first or /second",
    ),
    (
        "splits in another language, with a class more and unlabelled pictures",
        "{entrenamiento,prueba}/{cat,dog}/2\nprueba/owl/2\nsin_etiquetas/5",
        r"entrenamiento, prueba in / hold .* \(cat, dog\); give /entrenamiento or /prueba",
    ),
    (
        "splits of no usual name beside pictures without labels",
        "train_labeled/{cat,dog}/2\ntest/{cat,dog}/2\ntrain_unlabeled/2",
        r"/ has test but no folder for training; name one train",
    ),
    ("a test beside the classes", "{cat,dog,test/{cat,dog}}/2", r"put the class folders beside it into a folder train"),
    ("a class test of folders", "{cat,dog}/2\ntest/{a,b}/2", r"not clear whether test is a split or a class"),
    (
        "another case in the test",
        "train/{Cat,Dog}/2\ntest/{cat,dog}/2",
        r"'cat' and the training split 'Cat', names that",
    ),
    ("a blank more in the test", "train/{big_cat,dog}/2\ntest/{big cat ,dog}/2", r"'big cat ' and the .* 'big_cat'"),
    ("other accents in the test", "train/{caf\u00e9,dog}/2\ntest/{cafe\u0301,dog}/2", r"how accents are stored; give"),
    ("splits by class", "{cat,dog}_{train,test}/2", r"/cat_train holds pictures without class folders"),
    ("the same in two sizes", "{224,448}/{train,val}/{cat,dog}/2", r"give /224 or /448"),
    ("folds", "{fold1,fold2,fold3}/{cat,dog}/2", r"fold1, fold2, fold3 .*parts of one set"),
    ("splits in another language", "{Lernen,Prüfen}/{cat,dog}/2", r"give /Lernen or /Prüfen"),
    ("places as folders", "{indoor,outdoor}/{a,b,c}/2", r"give /indoor or /outdoor"),
    (
        "splits within classes",
        "{cat,dog}/{train,test}/2",
        r"/cat has splits of its own .*above the classes \(train/cat",
    ),
    ("train as class or split", "train/{steam,diesel}/2\n{bus,car}/2", r"give /train to train on the folders in it"),
    (
        "several sets",
        "dogImages/{train,valid}/{a,b}/2\nlfw/{Ann,Bob}/2",
        r"data set dogImages beside lfw; give /dogImages",
    ),
    ("sets side by side", "{cifar,mnist}/{train,test}/{a,b}/2", r"data sets cifar, mnist; give /cifar or /mnist"),
    ("a set beside examples", "data/{train,val}/{cat,dog}/2\nexamples/2", r"data set data beside examples; give /data"),
    ("images beside examples", "images/{cat,dog}/2\nexamples/2", r"give /images to train on the folders in it"),
    ("a set beside pictures", "pets/{train,val}/{cat,dog}/2\n1", r"data set pets; give /pets"),
    ("MVTec", "{bottle,cable}/{train/good/2,test/{good,bent}/2,ground_truth/bent/2}", r"give /bottle or /cable"),
    ("HAM10000", "HAM10000_images_part_{1,2}/2\nmeta.csv", r"parts of one set"),
    ("parts of images", "images_{001,002}/images/2", r"parts of one set"),
    (
        "Oxford pets",
        "images/{cat_1.jpg,dog_1.jpg}\nannotations/{trimaps/a.png,xmls/a.xml,list.txt}",
        r"/images holds pictures without class folders \(what annotations says of them is not read\)",
    ),
    ("Oxford flowers", "jpg/2\nimagelabels.mat", r"/jpg .*without class folders \(what imagelabels.mat says of"),
    (
        "FGVC aircraft",
        "fgvc/data/{images/2,images_variant_train.txt}",
        r"data/images holds pictures without class folders",
    ),
    (
        "VOC",
        "VOCdevkit/VOC2012/{Annotations/a.xml,ImageSets/Main/a.txt,JPEGImages/2,SegmentationClass/2,SegmentationObject/2}",
        r"JPEGImages holds pictures without class folders \(what Annotations says",
    ),
    (
        "COCO",
        "{train2017,val2017}/2\nannotations/instances_train2017.json",
        r"/train2017 holds pictures without class folders \(what annotations says",
    ),
    (
        "YOLO",
        "{images,labels}/{train,val}/{0.jpg,0.txt}\ndata.yaml",
        r"/images/train holds pictures without class folders",
    ),
    (
        "YOLO as exported",
        "{train,valid,test}/{images/0.jpg,labels/0.txt}\ndata.yaml",
        r"/train holds pictures without class folders \(what labels says",
    ),
    ("plant diseases", "New Plants/New Plants/{train,valid}/{cat,dog}/2\ntest/test/2", r"give /New Plants"),
]


@pytest.mark.parametrize(("tree", "splits", "said"), [case[1:] for case in READ], ids=[case[0] for case in READ])
def test_read(tmp_path: Path, tree: str, splits: str, said: str) -> None:
    layout = read_channels({"training": make(tmp_path / "set", tree)})
    assert shown(layout) == splits
    assert all(files for classes in layout.splits.values() for files in classes.values())
    lines = "\n".join(layout.lines())
    assert re.search(said, lines) if said else not lines


@pytest.mark.parametrize(("tree", "said"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused(tmp_path: Path, tree: str, said: str) -> None:
    root = tmp_path / "set"
    root.mkdir()
    with pytest.raises(DataError) as raised:
        read_channels({"training": make(root, tree)})
    sentence = str(raised.value)
    assert re.search(said, re.sub(f"{re.escape(str(root))}/?", "/", sentence)), sentence
    assert "\n" not in sentence


#: First bytes of files in which people have pictures, and what those are called.
CONTENTS = [
    (b"\x80\x02}q\x01(U\x0bbatch_label", "a Python pickle"),  # CIFAR
    (b"\0\0\x08\x03\0\0\xea\x60", "an array of the IDX format"),  # MNIST
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"PAR1\x15\x04", "a Parquet file"),
]


@pytest.mark.parametrize(("content", "kind"), CONTENTS)
@pytest.mark.parametrize("tree", ["set/first", "set/batches/first", "set/train/first\nset/test/first"])
def test_what_holds_many_pictures_is_named_by_its_content(tmp_path: Path, tree: str, content: bytes, kind: str) -> None:
    for file in make(tmp_path, tree).rglob("first"):
        file.write_bytes(content)
    with pytest.raises(DataError, match=f"\\(first is {kind}; write each picture in it to a file of its own\\)"):
        read_channels({"training": tmp_path / "set"})


def test_the_tables_are_long_enough() -> None:
    assert len(READ) + len(REFUSED) >= 100
    assert len({case[0] for case in READ + REFUSED}) == len(READ) + len(REFUSED)


def test_channels_are_splits_by_their_names_whatever_their_folders_are_called(tmp_path: Path) -> None:
    make(tmp_path, "{a,b,c/images}/{cat,dog}/2")
    channels = {"train": tmp_path / "a", "validation": tmp_path / "b", "test": tmp_path / "c"}
    assert shown(read_channels(channels)) == ALL


def test_the_whole_set_as_the_channel_of_one_split_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "{train,val}/{cat,dog}/2")
    with pytest.raises(DataError, match="given as one split and holds train, val"):
        read_channels({"train": tmp_path, "validation": tmp_path / "val"})


@pytest.mark.parametrize(
    ("name", "split"), [("val", "validation"), ("valid", "validation"), ("eval", "test"), ("Train", "train")]
)
def test_a_channel_that_is_called_as_a_splits_folder_may_be_is_refused(tmp_path: Path, name: str, split: str) -> None:
    make(tmp_path, "{cat,dog}/2")
    with pytest.raises(DataError, match=f"there is no channel {name}; call it {split}"):
        read_channels({"training": tmp_path, name: tmp_path})


def test_channels_that_are_not_used_are_named(tmp_path: Path) -> None:
    make(tmp_path, "{cat,dog}/2")
    layout = read_channels({"train": tmp_path, "train_lst": tmp_path / "nowhere", "code": tmp_path})
    assert shown(layout) == PETS
    assert [*layout.lines()] == ["not used: the channel code, the channel train_lst"]


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/pool/dog/2\nset/cat/2\nmore/2")
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "elsewhere" / "pool" / "dog")
    (tmp_path / "set" / "dog" / "more").symlink_to("../../../more")
    (tmp_path / "set" / "cat" / "up").symlink_to("..")
    (tmp_path / "set" / "cat" / "itself").symlink_to("itself")
    (tmp_path / "set" / "cat" / "gone.jpg").symlink_to("/nowhere/a.jpg")
    classes = read_channels({"training": tmp_path / "set"}).splits["train"]
    assert [file.name for file in classes["cat"]] == ["0.jpg", "1.jpg", "gone.jpg", "itself", "up"]
    assert len(classes["dog"]) == 4


def test_links_back_and_forth_end(tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(10)]
    make(tmp_path, f"{{{','.join(names)}}}/2")
    for name in names:
        for other in set(names) - {name}:
            (tmp_path / name / f"to_{other}").symlink_to(f"../{other}")
    with pytest.raises(DataError, match="in more than 100 ways; remove those"):
        read_channels({"training": tmp_path})


def test_pipes_are_listed_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(make(tmp_path / "set", "{cat,dog}/2") / "cat" / "pipe.jpg")
    assert len(read_channels({"training": tmp_path / "set"}).splits["train"]["cat"]) == 3


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes devices")
def test_devices_are_listed_and_not_opened(tmp_path: Path) -> None:
    place = make(tmp_path / "set", "{cat,dog}/2") / "cat" / "endless.jpg"
    try:
        os.mknod(place, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("root may not make devices here")
    assert place in read_channels({"training": tmp_path / "set"}).splits["train"]["cat"]


def test_a_hundred_thousand_empty_files_are_listed(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(50_000):
            os.close(os.open(tmp_path / label / f"{number}.jpg", os.O_CREAT))
    assert {len(files) for files in read_channels({"training": tmp_path}).splits["train"].values()} == {50_000}


def test_a_class_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "set", "{cat,dog}/2")
    scan = os.scandir

    def refuse(folder: Path) -> "os.ScandirIterator[str]":  # the tests may run as root, who may read everything
        if folder == root / "dog":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"set/dog cannot be read \(Permission denied\); let"):
        read_channels({"training": root})


def test_a_set_whose_place_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a cannot be read \(File name too long\); let"):
        read_channels({"training": tmp_path / ("a" * 256)})


def test_a_folder_that_goes_while_it_is_listed_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "set", "{cat,dog,owl}/2")
    scan = os.scandir

    def late(folder: Path) -> "os.ScandirIterator[str]":
        if folder == root / "cat":
            raise FileNotFoundError(2, "No such file or directory")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", late)
    with pytest.raises(DataError, match="set/cat holds no picture"):
        read_channels({"training": root})


def test_more_folders_within_one_another_than_a_set_has(tmp_path: Path) -> None:
    make(tmp_path, f"{'a/' * 100}1")
    with pytest.raises(DataError, match="more than 64 folders within one another"):
        read_channels({"training": tmp_path})


def test_names_of_any_bytes_are_one_line_of_text_and_come_back() -> None:
    names = [
        b"caf\xe9.jpg",
        "café 犬.jpg".encode(),
        b"a\nb.jpg",
        b"caf\\xe9.jpg",
        b"a\\b.jpg",
        b"\xff" * 255,
        b"a\\x5cxe9",
        "a\x85\u2028b".encode(),
    ]
    written = [text(os.fsdecode(name)) for name in names]
    assert written[:5] == ["caf\\xe9.jpg", "café 犬.jpg", "a\\x0ab.jpg", "caf\\x5cxe9.jpg", "a\\b.jpg"]
    assert [os.fsencode(path(name)) for name in written] == names
    for name in written:
        assert name.isprintable() and name.encode().decode() == name and len(name.splitlines()) == 1


def test_class_folders_whose_names_are_not_utf8(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    for name in (b"caf\xe9", b"bar"):
        os.makedirs(root + b"/" + name)
        open(root + b"/" + name + b"/\xe8.jpg", "w").close()
    layout = read_channels({"training": tmp_path})
    assert [os.fsencode(name) for name in layout.classes] == [b"bar", b"caf\xe9"]
