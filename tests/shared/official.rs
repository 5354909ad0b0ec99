//! Tiny Core 11's own kernel, by the requirement lists.

/// What Tiny Core 11's own configuration lacks of each list.
pub(crate) const OFFICIAL: [(&str, &[&str]); 4] = [
    (
        "ext3-xattr",
        &[
            "EXT3_FS",
            "EXT3_FS_POSIX_ACL",
            "EXT3_FS_SECURITY",
            "EXT4_FS_POSIX_ACL",
            "EXT4_FS_SECURITY",
            "TMPFS_POSIX_ACL",
        ],
    ),
    (
        "containers",
        &[
            "BLK_DEV_THROTTLING",
            "CFS_BANDWIDTH",
            "CGROUP_BPF",
            "EXT4_FS_POSIX_ACL",
            "EXT4_FS_SECURITY",
            "IP_VS",
            "MEMCG",
            "MEMCG_SWAP",
            "NETFILTER_XT_MATCH_IPVS",
            "OVERLAY_FS",
        ],
    ),
    (
        "vps",
        &[
            "E1000",
            "E1000E",
            "ENA_ETHERNET",
            "FUSION_SPI",
            "GVE",
            "HYPERV",
            "HYPERV_NET",
            "HYPERV_STORAGE",
            "SCSI_FC_ATTRS",
            "VIRTIO_BLK",
            "VIRTIO_NET",
            "VMXNET3",
        ],
    ),
    ("tinycore", &[]),
];
